// Tiles that renew themselves (data-live, by htmx) only while somebody looks, and never with another page than theirs.

const all = () => document.querySelectorAll("[data-live]");
const ofLive = (event) => event.detail.elt?.closest?.("[data-live]");

document.addEventListener("htmx:beforeRequest", (event) => {
  if (ofLive(event) && document.hidden) event.preventDefault();
});
document.addEventListener("htmx:beforeSwap", (event) => {
  const tiles = ofLive(event);
  if (!tiles) return;
  const asked = new URL(tiles.getAttribute("hx-get"), location.href).pathname;
  // Signed out, or away: the sign-in page does not belong into a tile.
  if (new URL(event.detail.xhr.responseURL, location.href).pathname !== asked) {
    event.detail.shouldSwap = false;
    location.reload();
  }
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) all().forEach((tiles) => window.htmx?.trigger(tiles, "refresh"));
});
