// Light and dark, and the tabs of the splits. Elements are made with `textContent`: nothing from
// data is ever read as markup.
"use strict";

const root = document.documentElement;
const lab = (window.routerlabPage = { seen: [], data: null });

lab.data = JSON.parse(document.getElementById("data").textContent);

// An element with attributes and children; a child that is no element is text.
lab.make = (name, attributes = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

// --- theme: the reader's choice, else the system's --------------------------------------------

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const button = document.getElementById("theme");

const kept = () => {
  try {
    return localStorage.getItem("routerlab-theme");
  } catch {
    return null;
  }
};

lab.isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

const show = () => {
  button.textContent = lab.isDark() ? "Light" : "Dark";
  document.dispatchEvent(new Event("routerlab-theme"));
};

button.addEventListener("click", () => {
  root.dataset.theme = lab.isDark() ? "light" : "dark";
  try {
    localStorage.setItem("routerlab-theme", root.dataset.theme);
  } catch {
    // A page opened from a disk may have nothing to keep it in.
  }
  show();
});
dark.addEventListener("change", show);
if (["light", "dark"].includes(kept())) root.dataset.theme = kept();
show();

// --- tabs --------------------------------------------------------------------------------------

const tabs = [...document.querySelectorAll('[role="tab"]')];

const choose = (chosen) => {
  for (const tab of tabs) {
    const on = tab === chosen;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !on;
  }
};

tabs.forEach((tab, at) => {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(at + step + tabs.length) % tabs.length];
    choose(next);
    next.focus();
  });
});
if (tabs.length) choose(tabs[0]);
