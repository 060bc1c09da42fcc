"""The browser that looks at the gateway's own pages looks at this one too."""

from tests.test_browser import browser, open_page

__all__ = ["browser", "open_page"]
