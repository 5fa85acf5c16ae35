"""Name and mark, drawn as text so that no font, icon or image is fetched from anywhere."""

_MARK = (
    '<path d="M6 8h28l-10.5 13v12l-7 4V21z" fill="#1c929d"/>'
    '<circle cx="12" cy="3.5" r="2.2" fill="#d08a1d"/><circle cx="21" cy="3.5" r="2.2" fill="#1c929d"/>'
    '<circle cx="30" cy="3.5" r="2.2" fill="#1c929d"/>'
)
ICON = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40" width="40" height="40">{_MARK}</svg>'
LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 150 40" width="150" height="40">'
    f'{_MARK}<text x="46" y="29" font-family="Source Sans, sans-serif" font-size="26" font-weight="700" '
    'fill="#1c929d">Winnow</text></svg>'
)
