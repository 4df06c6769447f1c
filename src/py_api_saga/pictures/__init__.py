"""Pictures of a saga, and of a journal: pages of HTML that need nothing else.

They are drawn from the story alone, so what they show of values is what the story shows, and
nothing that a journal names is imported. A page loads nothing: its style is in it, and it has no
script, no font, no picture from anywhere.

    markup      HTML by construction
    document    the page around all, and how statuses look
    axis        where each moment is drawn; idle time is cut out
    timeline    a lane for each operation
    graph       what waits for what
    page        one saga
    report      many
    notebook    one in a notebook
"""

from py_api_saga.pictures.notebook import Picture, picture

__all__ = ["Picture", "picture"]
