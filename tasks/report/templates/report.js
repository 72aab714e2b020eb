// What the page can do beside being read: values under the pointer, one question set at a time, sorting, CSV, folds, theme.
(() => {
  "use strict";
  const all = (query, root = document) => [...root.querySelectorAll(query)];
  const make = (tag, text, attributes = {}) => {
    const node = Object.assign(document.createElement(tag), { textContent: text });
    Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
    return node;
  };
  const words = node => node.textContent.replace(/\s+/g, " ").trim();

  // Values: the mark nearest to the pointer; with the arrow keys, one mark after another of the figure in focus.
  const tip = document.body.appendChild(make("div", "", { id: "tip", hidden: "", "aria-hidden": "true" }));
  const said = document.body.appendChild(make("div", "", { class: "sr", "aria-live": "polite" }));
  let lit = null;
  const hide = () => { tip.hidden = true; lit?.classList.remove("lit"); lit = null; };
  const show = (mark, text) => {
    if (lit !== mark) { lit?.classList.remove("lit"); lit = mark; mark.classList.add("lit"); tip.textContent = text; }
    tip.hidden = false;
    const at = mark.getBoundingClientRect(), size = tip.getBoundingClientRect();
    const left = at.left + at.width / 2 - size.width / 2;
    tip.style.left = `${Math.max(4, Math.min(left, innerWidth - size.width - 4))}px`;
    tip.style.top = `${at.top > size.height + 10 ? at.top - size.height - 6 : at.bottom + 6}px`;
  };
  for (const box of all("figure .scroll")) {
    let texts = null, place = -1;
    const marks = () => {  // the browser's own tooltips go once this one is there
      texts ??= new Map(all(".tip > title", box).map(title => [title.parentNode, title.textContent]));
      all(".tip > title", box).forEach(title => title.remove());
      return [...texts.keys()].filter(mark => !mark.closest(".off") && mark.getClientRects().length);
    };
    const gap = (mark, x, y) => {
      const at = mark.getBoundingClientRect();
      const away = Math.hypot(Math.max(at.left - x, 0, x - at.right), Math.max(at.top - y, 0, y - at.bottom));
      return [away, Math.hypot(x - (at.left + at.right) / 2, y - (at.top + at.bottom) / 2)];
    };
    box.addEventListener("pointermove", event => {
      let best = null, least = [12, 0];
      for (const mark of marks()) {
        const gaps = gap(mark, event.clientX, event.clientY);
        if (gaps[0] < least[0] || (gaps[0] === least[0] && gaps[1] < least[1])) { best = mark; least = gaps; }
      }
      if (best) show(best, texts.get(best)); else hide();
    });
    box.addEventListener("pointerleave", hide);
    box.addEventListener("blur", hide);
    box.addEventListener("keydown", event => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") hide();
      if (!step) return;
      const shown = marks();
      if (!shown.length) return;
      event.preventDefault();
      place = (place + step + shown.length) % shown.length;
      shown[place].scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
      requestAnimationFrame(() => show(shown[place], texts.get(shown[place])));  // scrolling hides what is shown
      said.textContent = texts.get(shown[place]);
    });
  }
  addEventListener("scroll", hide, { passive: true, capture: true });

  // One question set: other sets' rows and tables go, their marks in figures fade.
  const chosen = document.getElementById("set");
  chosen?.addEventListener("change", () => {
    for (const node of all("[data-set]")) {
      node.classList.toggle("off", chosen.value !== "" && node.dataset.set !== chosen.value);
    }
  });

  // Tables: sort those that are one body of plain rows, save each as it is shown.
  const number = text => {
    const digits = text.replace(/\u2212/g, "-").replace(/,(?=\d{3})/g, "").match(/^[+-]?[\d.]+(e[+-]?\d+)?/i);
    return digits ? parseFloat(digits[0]) : NaN;
  };
  const sort = (table, column, up) => {
    const body = table.tBodies[0], key = row => words(row.cells[column]);
    const order = (a, b) => {
      const [x, y] = [number(key(a)), number(key(b))];
      if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
      return (isNaN(x) ? key(a).localeCompare(key(b)) : x - y) * (up ? 1 : -1);
    };
    body.append(...[...body.rows].sort(order));
  };
  const grid = table => {  // cells that span rows or columns are written into each of them
    const lines = [], held = [];
    for (const row of table.rows) {
      if (row.closest(".off")) continue;
      const line = [];
      let cells = [...row.cells].filter(cell => !cell.classList.contains("off"));
      for (let x = 0; cells.length || held[x]?.left; x++) {
        if (held[x]?.left) { held[x].left--; line.push(held[x].text); continue; }
        const cell = cells.shift(), text = words(cell);
        if (cell.rowSpan > 1) held[x] = { text, left: cell.rowSpan - 1 };
        for (let n = 0; n < cell.colSpan; n++) line.push(text);
        x += cell.colSpan - 1;
      }
      lines.push(line);
    }
    return lines;
  };
  const quoted = text => /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  for (const table of all("table")) {
    const title = words(table.caption), save = make("button", "CSV", { type: "button", "aria-label": `Download as CSV: ${title}` });
    save.addEventListener("click", () => {
      const text = grid(table).map(line => line.map(quoted).join(",") + "\n").join("");
      const link = make("a", "", { download: `${title.replace(/\W+/g, "-").toLowerCase()}.csv` });
      link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    table.caption.append(" ", save);
    if (table.tBodies.length !== 1 || table.tBodies[0].rows.length < 3 || table.querySelector("[rowspan], [colspan]")) continue;
    all("thead th", table).forEach((head, column) => {
      const button = make("button", words(head), { type: "button" });
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        all("thead th", table).forEach(each => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        sort(table, column, up);
      });
    });
  }

  // Theme: that of the system until a person says otherwise; kept where the browser keeps things for a file.
  const theme = document.getElementById("theme"), themes = ["auto", "light", "dark"];
  const paint = name => {
    document.documentElement.style.colorScheme = name === "auto" ? "" : name;
    if (theme) theme.textContent = `Theme: ${name}`;
  };
  let now = "auto";
  try { now = localStorage.getItem("avss-theme") ?? now; } catch { /* no storage: the system's theme */ }
  paint(now);
  theme?.addEventListener("click", () => {
    now = themes[(themes.indexOf(now) + 1) % themes.length];
    paint(now);
    try { localStorage.setItem("avss-theme", now); } catch { /* not kept */ }
  });
  addEventListener("beforeprint", () => { document.documentElement.style.colorScheme = "light"; });
  addEventListener("afterprint", () => paint(now));

  // Folded parts: a link into one opens it, one button opens or folds all, and paper shows all.
  const folds = all("details"), unfold = document.getElementById("unfold");
  const reveal = link => {
    const target = link && document.getElementById(decodeURIComponent(link.slice(1)));
    for (let fold = target?.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    target?.scrollIntoView();
  };
  all("a[href^='#']").forEach(link => link.addEventListener("click", () => reveal(link.hash)));
  addEventListener("hashchange", () => reveal(location.hash));
  if (location.hash) reveal(location.hash);
  unfold?.addEventListener("click", () => {
    const open = folds.some(each => !each.open);
    folds.forEach(each => { each.open = open; });
    unfold.textContent = open ? "Fold all" : "Unfold all";
  });
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = folds.filter(each => !each.open);
    folded.forEach(each => { each.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach(each => { each.open = false; }));

  // The contents say where one is.
  const links = new Map(all("nav a[href^='#']").map(link => [link.hash.slice(1), link])), places = new Map();
  const seen = new IntersectionObserver(entries => {
    for (const entry of entries.filter(each => each.isIntersecting)) {
      links.forEach(link => link.removeAttribute("aria-current"));
      places.get(entry.target).setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  links.forEach((link, id) => {
    const part = document.getElementById(id)?.closest("section");
    if (part) { places.set(part, link); seen.observe(part); }
  });

  all(".tools").forEach(each => { each.hidden = false; });
})();
