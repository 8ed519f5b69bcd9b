"""How a prompt becomes timed actions: by rules (offline) or by a chat model. The public face is llm_planner.plan."""
