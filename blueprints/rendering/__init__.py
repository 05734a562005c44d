"""HTML pages: templates, escaped text, sizes and times in words, pictures, lists of files.

A section is added to the page in three steps:

1. A view in the file of its fact in `blueprints/page/`, or in a new one with a blueprint of its name. The view takes its engine from
   `access.visible`, calls one service and returns `render("NAME.html", ...)` (`answer.py`). If scripts get the same fact as JSON, the
   view has both routes, and `current_route().is_page` says which one was asked.
2. `blueprints/page/templates/NAME.html` extends `base.html` and fills the blocks `title` and `content`. Text from images passes through
   the filter `text`, which bounds it and shows control characters: `{{ label | text }}`. In an attribute it is `{{ label | plain }}`; the
   name of an image is `{{ name | name }}`, where lines break well. Sizes are `{{ bytes | size }}`, times `{{ seconds | age }}`. The macros
   of `macros.html` draw tables' headings, digests and bars; those of `forms.html` are forms that people fill in.
3. A line in `base.html` if it belongs into the navigation, or in `macros.html: image_head` if it is a part of one image. A new file of
   rules is not needed: `static/page.css` has classes for tables, cards, bars, notes and buttons.

Styles and scripts are files in `blueprints/page/static/`, never in the HTML: the Content-Security-Policy refuses them there.
"""
