"""How a setting is declared, and all that is made from the declarations."""
