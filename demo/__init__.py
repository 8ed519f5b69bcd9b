"""How weights/demo were made and are measured."""
