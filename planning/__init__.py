"""How a prompt becomes timed actions. By rules, prompt -> plain text -> clauses -> words -> actions; or by a chat model.

The public face is llm_planner.plan.
"""
