"""How a prompt becomes timed actions. By rules, prompt -> clauses -> words -> actions; or by a chat model.

The public face is llm_planner.plan.
"""
