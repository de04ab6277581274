// Light or dark: the system's choice until the visitor makes one, which a cookie keeps so that pages come as chosen.

const root = document.documentElement;
const system = window.matchMedia("(prefers-color-scheme: dark)");
const button = document.getElementById("theme");

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
}

function label() {
  const text = isDark() ? button.dataset.toLight : button.dataset.toDark;
  button.setAttribute("aria-label", text);
  button.title = text;
}

button.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  document.cookie = `theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
  label();
});
system.addEventListener("change", label);
label();
button.hidden = false;
