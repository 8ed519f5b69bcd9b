"""The whole system in a browser: app.py. Gradio is imported by webapp.page alone, and only when the page is built."""
