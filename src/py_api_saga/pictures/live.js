(() => {
  const box = document.getElementById("live"), gone = document.getElementById("gone");
  const main = () => document.getElementById("board");
  const isRead = () => document.hidden || !box.checked || getSelection().toString() ||
    document.querySelector("#board details[open], #board :is(input, textarea):focus");
  const key = (one) => one.tagName + one.textContent + (one.href || "");
  let busy = false, shown = "";

  const decorate = () => main().querySelectorAll(".cmd").forEach((command) => {
    const row = document.createElement("div"), button = document.createElement("button");
    [row.className, button.className, button.type, button.textContent] = ["row", "copy", "button", "copy"];
    command.replaceWith(row);
    row.append(command, button);
  });
  const swap = (page) => {
    const next = page.getElementById("board"), here = document.activeElement, top = scrollY;
    if (!next) return location.reload();  // somebody has to log in
    if (next.innerHTML === shown) return;
    shown = next.innerHTML;
    const focused = main().contains(here) && key(here);
    main().replaceWith(next);
    document.title = page.title;
    decorate();
    const same = [...next.querySelectorAll("a, button, summary")].find((one) => key(one) === focused);
    if (same) same.focus({preventScroll: true});
    scrollTo({top, behavior: "instant"});
  };
  const look = async () => {
    if (busy || isRead()) return;
    busy = true;
    try {
      const answer = await fetch(location.href, {signal: AbortSignal.timeout(10000)});
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      gone.hidden = true;
      if (!isRead()) swap(page);
    } catch {
      gone.hidden = false;
    }
    busy = false;
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy"), command = button?.previousElementSibling;
    if (!button) return;
    try {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = "copied";
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    } catch {
      getSelection().selectAllChildren(command);
    }
  });
  decorate();
  box.closest("span").hidden = false;
  setInterval(look, 2000);
})();
