"use strict";

for (const button of document.querySelectorAll("button[data-copy]")) {
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}

// What takes the database a while comes when the page is there, one after the other.
(async () => {
  for (const place of document.querySelectorAll("a[data-load]")) {
    const told = document.createElement("span");
    told.className = "sum";
    told.textContent = "…";
    place.replaceWith(told);
    try {
      told.textContent = await (await fetch(place.dataset.load)).text();
    } catch {
      told.textContent = "not known";
    }
  }
})();
