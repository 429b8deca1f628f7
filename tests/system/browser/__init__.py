"""The page, used by mouse and keyboard in Debian's Chromium, against real servers."""
