"""Colours of all figures, pages and videos, distinguishable for colour-blind people.

Source: M. Okabe and K. Ito, Color Universal Design, 2008.
"""

SUPPORT_COLOR = "#D55E00"
PADDING_COLOR = "#56B4E9"
SECOND_COLOR = "#0072B2"
EXTRA_COLOR = "#F0E442"
OTHER_COLOR = "#8c8c8c"
