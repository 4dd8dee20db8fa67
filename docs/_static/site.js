// The list of pages begins at the page that is read, not at its own top.
const pages = document.querySelector(".sidebar-scroll");
const current = pages?.querySelector(".current-page");
if (current) {
  const below = current.getBoundingClientRect().top - pages.getBoundingClientRect().top;
  pages.scrollBy({ top: below - pages.clientHeight / 2, behavior: "instant" });
}
