// Draws the plots, one after the other, so that the page can be read meanwhile. Figures come in the
// colours of a light page; on a dark one each colour is replaced.
"use strict";
(() => {
  const page = document.documentElement;
  const text = document.getElementById("data").textContent;
  const swap = new Map(Object.entries(JSON.parse(text).dark));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  // A finger that scrolls the page must not zoom a plot.
  const dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
  const config = { responsive: true, displayModeBar: false };
  let turn = 0;

  function* figures(isDark) {
    const coloured = (key, value) => (isDark && swap.has(value) ? swap.get(value) : value);
    const { template, figures } = JSON.parse(text, coloured);
    for (const [name, figure] of Object.entries(figures)) {
      // With a width of its own a plot would no longer follow the window.
      const width = page.dataset.paper && document.getElementById(name).clientWidth;
      const layout = { ...figure.layout, width, template, dragmode };
      yield Plotly.react(name, figure.data, layout, config);
    }
  }

  async function draw() {
    const mine = ++turn;
    for (const key of document.querySelectorAll("[data-trace]")) key.ariaPressed = "true";
    for (const _ of figures(dark.matches)) {
      await new Promise((go) => setTimeout(go));
      if (mine !== turn) return;
    }
    page.dataset.drawn = "yes";
  }

  // Paper is white and narrow, and does not wait.
  function print() {
    turn++;
    page.dataset.paper = "yes";
    for (const _ of figures(false));
  }

  function printed() {
    delete page.dataset.paper;
    draw();
  }

  function toggle(event) {
    const key = event.target.closest("[data-trace]");
    if (!key) return;
    const visible = key.ariaPressed === "false";
    key.ariaPressed = String(visible);
    Plotly.restyle(key.dataset.plot, { visible }, [Number(key.dataset.trace)]);
  }

  function unfold() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const details = target && target.closest("details");
    if (details && !details.open) {
      details.open = true;
      target.scrollIntoView();
    }
  }

  addEventListener("click", toggle);
  addEventListener("beforeprint", print);
  addEventListener("afterprint", printed);
  addEventListener("hashchange", unfold);
  dark.addEventListener("change", draw);
  unfold();
  draw();
})();
