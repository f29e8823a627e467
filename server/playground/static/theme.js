// Not a module, so that it runs before anything is painted: a page must not flash in the other theme, nor show what its
// link is not about.
"use strict";

{
  const KEY = "longjump-theme";
  const ORDER = ["auto", "light", "dark"];
  const root = document.documentElement;
  const read = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage may be forbidden; the choice then lasts as long as the page
    }
  };
  let theme = ORDER.includes(read()) ? read() : "auto";

  const show = () => {
    root.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) {
      button.textContent = { auto: "◐", light: "☀", dark: "☾" }[theme];
      button.setAttribute("aria-label", `Colours: ${theme}`);
      button.title = { auto: "Colours: as your system has them", light: "Colours: light", dark: "Colours: dark" }[theme];
    }
  };

  show();
  if (location.hash.length > 1) root.dataset.linked = "";
  document.addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme")?.addEventListener("click", () => {
      theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
      try {
        localStorage.setItem(KEY, theme);
      } catch {
        /* as above */
      }
      show();
    });
  });
}
