"""The HTML pages and the partials that they update live."""
