(function () {
  'use strict';
  var doc = document, root = doc.documentElement;
  root.className = 'js';
  function each(list, f) { Array.prototype.forEach.call(list, f); }

  // What is compressed in the page: text, by a promise; it never resolves where
  // the browser cannot inflate, and then the page stays as it is without script.
  function unpack(el) {
    if (!window.DecompressionStream) return new Promise(function () {});
    var bin = atob(el.textContent), b = new Uint8Array(bin.length);
    for (var i = 0; i < bin.length; i++) b[i] = bin.charCodeAt(i);
    return new Response(new Blob([b]).stream().pipeThrough(new DecompressionStream('gzip'))).text();
  }

  // Folded calls: their ladders come when the first of their kind is opened.
  each(doc.querySelectorAll('script.calls'), function (store) {
    var calls = store.parentNode.querySelectorAll('details.call'), rest = [], texts;
    each(calls, function (d) { if (!d.querySelector('.ladder')) rest.push(d); });
    function fill(d) {
      if (d.querySelector('.ladder')) return Promise.resolve();
      texts = texts || unpack(store).then(function (t) { return t.split('\0'); });
      return texts.then(function (list) {
        if (d.querySelector('.ladder')) return;
        var at = doc.createElement('div');
        at.innerHTML = list[rest.indexOf(d)];
        while (at.firstChild) d.appendChild(at.firstChild);
        each(d.querySelectorAll('.ladder'), begin);
      });
    }
    rest.forEach(function (d) {
      d.fill = fill.bind(null, d);
      d.addEventListener('toggle', function () { if (d.open) d.fill(); });
    });
  });

  // Ladders: a rung shows its message in the panel beside it.
  function panelOf(id) { var p = doc.getElementById(id); return p && p.classList.contains('det') ? p : null; }
  function pick(id, focus, scroll) {
    var p = panelOf(id);
    if (!p) return;
    var ladder = p.closest('.ladder'), fold = p.closest('details');
    if (fold) fold.open = true;
    each(ladder.querySelectorAll('.det.show'), function (x) { x.classList.remove('show'); });
    p.classList.add('show');
    each(ladder.querySelectorAll('.rung'), function (r) {
      var on = r.getAttribute('data-d') === id;
      r.classList.toggle('on', on);
      if (on && focus && r.getClientRects().length) r.focus({ preventScroll: true });
    });
    copyButton(p);
    if (scroll) p.scrollIntoView({ block: 'center' });
  }
  function copyButton(p) {
    var f = p.querySelector('.flt');
    if (!f || f.querySelector('button')) return;
    var b = doc.createElement('button'), c = f.querySelector('code');
    b.type = 'button';
    b.textContent = 'Copy';
    b.addEventListener('click', function () {
      function done() { b.textContent = 'Copied'; setTimeout(function () { b.textContent = 'Copy'; }, 1500); }
      function byHand() {
        var s = getSelection(), r = doc.createRange();
        r.selectNodeContents(c); s.removeAllRanges(); s.addRange(r);
        if (doc.execCommand('copy')) done();
      }
      if (navigator.clipboard) navigator.clipboard.writeText(c.textContent).then(done, byHand); else byHand();
    });
    f.appendChild(b);
  }
  doc.addEventListener('click', function (e) {
    var r = e.target.closest ? e.target.closest('a.rung') : null;
    if (!r) return;
    e.preventDefault();
    pick(r.getAttribute('data-d'), false, innerWidth <= 860);
  });
  doc.addEventListener('keydown', function (e) {
    var step = e.key === 'ArrowDown' ? 1 : e.key === 'ArrowUp' ? -1 : 0;
    var r = step && e.target.closest ? e.target.closest('a.rung') : null;
    if (!r) return;
    e.preventDefault();
    var all = Array.prototype.slice.call(r.closest('svg').querySelectorAll('a.rung')), i = all.indexOf(r) + step;
    if (i >= 0 && i < all.length) pick(all[i].getAttribute('data-d'), true);
  });
  function begin(l) {
    var p = l.querySelector('.det');
    if (!p) return;
    p.classList.add('show');
    each(l.querySelectorAll('.rung'), function (r) { if (r.getAttribute('data-d') === p.id) r.classList.add('on'); });
    copyButton(p);
  }
  each(doc.querySelectorAll('.ladder'), begin);
  function follow() {
    var h = location.hash.slice(1), d = doc.getElementById(h) || doc.getElementById(h.replace(/-[^-]*$/, ''));
    if (!h) return;
    if (d && d.fill) {
      d.open = true;
      d.fill().then(function () { if (panelOf(h)) pick(h, false, true); else d.scrollIntoView(); });
    } else if (panelOf(h)) pick(h, false, true);
  }
  addEventListener('hashchange', follow);
  follow();

  // Paper: what is folded away on the screen is open, where style alone cannot.
  addEventListener('beforeprint', function () {
    each(doc.querySelectorAll('details.why:not([open])'), function (d) { d.open = true; d.setAttribute('data-was', 'shut'); });
  });
  addEventListener('afterprint', function () {
    each(doc.querySelectorAll('details.why[data-was]'), function (d) { d.open = false; d.removeAttribute('data-was'); });
  });

  // Tables: sort by a column, search in long ones.
  function value(td) {
    var t = td ? td.textContent.replace(/[\u2009\u00a0]/g, '').replace(/\u2212/g, '-').trim() : '';
    var n = parseFloat(t);
    return { empty: t === '', n: /^-?[\d.]/.test(t) && !isNaN(n) ? n : null, t: t };
  }
  each(doc.querySelectorAll('table.data'), function (t) {
    var body = t.tBodies[0], first = Array.prototype.slice.call(body.rows);
    if (first.length < 2) return;
    each(t.tHead.rows[0].cells, function (th, i) {
      var b = doc.createElement('button');
      b.type = 'button';
      while (th.firstChild) b.appendChild(th.firstChild);
      th.appendChild(b);
      b.addEventListener('click', function () {
        var was = th.getAttribute('aria-sort'), next = was === 'ascending' ? 'descending' : was === 'descending' ? '' : 'ascending';
        each(t.tHead.rows[0].cells, function (x) { x.removeAttribute('aria-sort'); });
        var rows = first.slice();
        if (next) {
          th.setAttribute('aria-sort', next);
          var d = next === 'ascending' ? 1 : -1;
          rows = first.map(function (r, k) { return { r: r, k: k, v: value(r.cells[i]) }; }).sort(function (a, c) {
            if (a.v.empty !== c.v.empty) return a.v.empty ? 1 : -1;
            var o = a.v.n !== null && c.v.n !== null ? a.v.n - c.v.n : a.v.t < c.v.t ? -1 : a.v.t > c.v.t ? 1 : 0;
            return o * d || a.k - c.k;
          }).map(function (x) { return x.r; });
        }
        rows.forEach(function (r) { body.appendChild(r); });
      });
    });
    if (first.length < 15) return;
    var box = t.closest('.scroll'), f = doc.createElement('input');
    f.type = 'search';
    f.className = 'find';
    f.placeholder = 'Search ' + first.length + ' rows';
    f.setAttribute('aria-label', 'Search in ' + (box.getAttribute('aria-label') || 'table'));
    f.addEventListener('input', function () {
      var q = f.value.toLowerCase();
      first.forEach(function (r) { r.hidden = q !== '' && r.textContent.toLowerCase().indexOf(q) < 0; });
    });
    box.parentNode.insertBefore(f, box);
  });

  var charts = [];

  // Figures can be taken along: as drawn, as an image, as numbers.
  function saved(name, type, data) {
    var a = doc.createElement('a');
    a.href = typeof data === 'string' && data.indexOf('data:') === 0 ? data : URL.createObjectURL(new Blob([data], { type: type }));
    a.download = name;
    doc.body.appendChild(a);
    a.click();
    a.remove();
    if (a.href.indexOf('blob:') === 0) setTimeout(function () { URL.revokeObjectURL(a.href); }, 10000);
  }
  var looks = ['fill', 'fill-opacity', 'stroke', 'stroke-width', 'stroke-dasharray', 'stroke-linecap', 'stroke-linejoin', 'opacity', 'paint-order', 'font-family', 'font-size', 'font-weight', 'text-anchor', 'display'];
  function drawingOf(fig) {
    var ns = 'http://www.w3.org/2000/svg', out = doc.createElementNS(ns, 'svg'), w = 0, h = 0;
    each(fig.querySelectorAll('.plot svg.w'), function (svg) {
      var copy = svg.cloneNode(true), from = svg.querySelectorAll('*'), to = copy.querySelectorAll('*'), box = svg.viewBox.baseVal;
      each(from, function (e, i) {
        var s = getComputedStyle(e);
        looks.forEach(function (l) { if (s.getPropertyValue(l)) to[i].setAttribute(l, s.getPropertyValue(l)); });
        to[i].removeAttribute('class');
      });
      each(copy.querySelectorAll('a'), function (a) { a.removeAttribute('href'); });
      copy.removeAttribute('class');
      copy.setAttribute('y', h);
      copy.setAttribute('width', box.width);
      copy.setAttribute('height', box.height);
      out.appendChild(copy);
      w = Math.max(w, box.width);
      h += box.height;
    });
    out.setAttribute('viewBox', '0 0 ' + w + ' ' + h);
    out.setAttribute('width', w);
    out.setAttribute('height', h);
    return new XMLSerializer().serializeToString(out);
  }
  function imageOf(charts) {
    var scale = 3, parts = charts.map(function (c) { return c.chart.getRenderedCanvas({ pixelRatio: scale, backgroundColor: colors['--paper'] }); });
    var all = doc.createElement('canvas'), y = 0;
    all.width = Math.max.apply(null, parts.map(function (p) { return p.width; }));
    all.height = parts.reduce(function (n, p) { return n + p.height; }, 0);
    parts.forEach(function (p) { all.getContext('2d').drawImage(p, 0, y); y += p.height; });
    return all.toDataURL('image/png');
  }
  function cell(v) {
    if (v === null || v === undefined) return '';
    var s = String(v);
    if (typeof v !== 'number' && /^[=+\-@\t]/.test(s)) s = "'" + s;
    return /[",\r\n]/.test(s) ? '"' + s.replace(/"/g, '""') + '"' : s;
  }
  function numbersOf(fig) {
    var rows = [];
    each(fig.querySelectorAll('script.opt'), function (el) {
      var d = JSON.parse(el.textContent), o = d.option;
      if (!rows.length) rows.push(['panel', 'series', o.xAxis[o.xAxis.length - 1].name || 'x', 'value', 'low', 'high', 'to', 'note']);
      o.series.forEach(function (s) {
        var panel = d.panels[s.xAxisIndex || 0], top = o.yAxis[s.yAxisIndex || 0].max;
        s.data.forEach(function (p) {
          var v = p && p.value || p, kind = s.renderItem;
          if (kind === 'band') rows.push([panel, s.name, v[0], null, v[1], v[3], v[2], null]);
          else if (kind === 'area') for (var i = 0; i < v.length; i += 3) rows.push([panel, s.name, v[i], v[i + 1], v[i + 2], null, null, null]);
          else if (kind === 'bar') rows.push([panel, s.name, v[0], v[1], null, null, v[2], p.name]);
          else if (kind === 'mark' || kind === 'sustained') rows.push([panel, s.name, v[0], v[1], v[2] === v[3] ? null : v[2], v[2] === v[3] || v[3] === top ? null : v[3], null, p.name]);
          else if (v[1] !== null) rows.push([panel, s.name, v[0], v[1], null, null, null, null]);
        });
      });
    });
    return rows.map(function (r) { return r.map(cell).join(','); }).join('\r\n') + '\r\n';
  }
  each(doc.querySelectorAll('figure[id]'), function (fig) {
    var bar = doc.createElement('p');
    bar.className = 'save';
    [['SVG', function () { saved(fig.id + '.svg', 'image/svg+xml', drawingOf(fig)); }],
      ['PNG', function () {
        var mine = charts.filter(function (c) { return c.chart && fig.contains(c.plot); });
        if (mine.length) saved(fig.id + '.png', '', imageOf(mine));
      }],
      ['CSV', function () { saved(fig.id + '.csv', 'text/csv', numbersOf(fig)); }]].forEach(function (k) {
      var b = doc.createElement('button');
      b.type = 'button';
      b.textContent = k[0];
      b.setAttribute('aria-label', 'Save ' + fig.id.replace('fig', 'figure ') + ' as ' + k[0]);
      b.addEventListener('click', k[1]);
      bar.appendChild(b);
    });
    fig.appendChild(bar);
  });

  // Charts: the options come as data; what only a function can draw is here.
  var library = doc.querySelector('script.charts');
  if (!library) return;
  var names = ['paper', 'ink', 'mute', 'hair', 'tint', 'band', 'blue', 'ochre', 'red', 'area'], colors = {};
  function readColors() {
    var s = getComputedStyle(root);
    names.forEach(function (n) { colors['--' + n] = s.getPropertyValue('--' + n).trim(); });
    colors.font = s.getPropertyValue('--sans').trim() || 'sans-serif';
  }
  function paint(o) {
    for (var k in o) {
      var v = o[k];
      if (v && typeof v === 'object') paint(v);
      else if (typeof v === 'string' && /color$/i.test(k) && colors[v]) o[k] = colors[v];
    }
    return o;
  }
  function plain(v) { return String(+(+v).toPrecision(4)).replace('-', '\u2212'); }
  function labels(ticks) {
    return function (v) {
      for (var i = 0; i < ticks.length; i++) if (Math.abs(ticks[i].v - v) <= 1e-9 * Math.max(1, Math.abs(v))) return ticks[i].text;
      return plain(v);
    };
  }
  function seg(x1, y1, x2, y2, color, w, dash) {
    return { type: 'line', shape: { x1: x1, y1: y1, x2: x2, y2: y2 }, style: { stroke: color, lineWidth: w, lineDash: dash || null } };
  }
  var draws = {
    band: function (s) {
      var c = s.color, d = s.data[0];
      s.data = [[d[0], d[1]]];
      s.silent = true; s.z = 0; s.tooltip = { show: false };
      return function (p, api) {
        var a = api.coord([d[0], d[3]]), b = api.coord([d[2], d[1]]);
        return { type: 'rect', shape: { x: a[0], y: a[1], width: b[0] - a[0], height: b[1] - a[1] }, style: { fill: c } };
      };
    },
    area: function (s) {
      var c = s.color, d = s.data[0].value;
      s.data = [[d[0], d[1]]];
      s.silent = true; s.z = 0; s.tooltip = { show: false };
      return function (p, api) {
        var up = [], down = [], i, a, b, last;
        for (i = 0; i < d.length; i += 3) {
          a = api.coord([d[i], d[i + 1]]);
          b = api.coord([d[i], d[i + 2]]);
          if (last) { up.push([a[0], last[0]]); down.push([b[0], last[1]]); }
          up.push(a); down.push(b);
          last = [a[1], b[1]];
        }
        return { type: 'polygon', shape: { points: up.concat(down.reverse()) }, style: { fill: c } };
      };
    },
    mark: function (s) {
      var c = s.color;
      s.z = 5;
      return function (p, api) {
        var a = api.coord([api.value(0), api.value(1)]), lo = api.coord([api.value(0), api.value(2)])[1], hi = api.coord([api.value(0), api.value(3)])[1], look = api.value(4), open = look > 0, g = [];
        var col = look === 2 ? colors['--mute'] : c;
        a[0] += api.value(6) || 0;
        if (lo !== hi) g.push(seg(a[0], lo, a[0], hi, col, 1.25), seg(a[0] - 5, lo, a[0] + 5, lo, col, 1.25), seg(a[0] - 5, hi, a[0] + 5, hi, col, 1.25));
        g.push({ type: 'circle', shape: { cx: a[0], cy: a[1], r: open ? 3.5 : 3 }, style: { fill: open ? colors['--paper'] : col, stroke: col, lineWidth: open ? 1.75 : 0 } });
        g.push({ type: 'circle', shape: { cx: a[0], cy: a[1], r: 9 }, style: { fill: 'transparent' } });
        return { type: 'group', children: g };
      };
    },
    sustained: function (s) {
      var c = s.color;
      s.z = 4;
      return function (p, api) {
        var a = api.coord([api.value(0), api.value(1)]), lo = api.coord([api.value(0), api.value(2)])[1], hi = api.coord([api.value(0), api.value(3)])[1], x = a[0] + (api.value(6) || 0) + 6;
        return { type: 'group', children: [seg(x, lo, x, hi, c, 1.25), seg(x - 2.5, lo, x + 2.5, lo, c, 1.25), seg(x - 2.5, hi, x + 2.5, hi, c, 1.25), seg(x - 2.5, a[1], x + 2.5, a[1], c, 1.25)] };
      };
    },
    bar: function (s) {
      var c = s.color;
      return function (p, api) {
        var a = api.coord([api.value(0), api.value(1)]), b = api.coord([api.value(2), 0]), w = b[0] - a[0];
        return { type: 'rect', shape: { x: a[0], y: a[1], width: Math.max(1, w > 3 ? w - 1 : w), height: Math.max(0, p.coordSys.y + p.coordSys.height - a[1]) }, style: { fill: c } };
      };
    },
    dash: function (s) {
      var c = s.color;
      s.silent = true;
      return function (p, api) {
        var a = api.coord([api.value(0), api.value(1)]);
        return seg(a[0] - 11, a[1], a[0] + 11, a[1], c, 1.25, [5, 4]);
      };
    }
  };
  function options(text, width) {
    var d = JSON.parse(text), o = paint(d.option), cut = d.width - width;
    o.animation = false;
    o.aria = { enabled: true };
    o.textStyle = { fontFamily: colors.font, fontSize: 13, color: colors['--mute'] };
    o.grid.forEach(function (g) { g.width = +g.width - cut; g.left = +g.left; g.top = +g.top; g.height = +g.height; });
    o.xAxis.forEach(function (x) {
      x.axisLabel.formatter = labels(d.xticks);
      x.axisLabel.customValues = x.axisTick.customValues = d.xticks.map(function (t) { return t.v; });
      x.nameTextStyle = { color: colors['--mute'], fontSize: 13 };
    });
    o.yAxis.forEach(function (y, i) {
      y.axisLabel.formatter = labels(d.yticks[i]);
      y.axisTick = { show: false };
      if (y.type === 'value' && d.yticks[i].length > 1) y.interval = d.yticks[i][1].v - d.yticks[i][0].v;
    });
    var marks = false, lines = false;
    o.series.forEach(function (s) {
      if (s.renderItem && draws[s.renderItem]) {
        marks = marks || s.renderItem === 'mark' || s.renderItem === 'bar';
        s.renderItem = draws[s.renderItem](s);
        s.clip = true;
      } else { delete s.renderItem; lines = true; s.sampling = 'none'; }
      delete s.label;
    });
    o.tooltip.renderMode = 'richText';
    o.tooltip.confine = true;
    o.tooltip.textStyle = { color: colors['--ink'], fontSize: 13, fontFamily: colors.font };
    o.tooltip.trigger = marks ? 'item' : 'axis';
    o.tooltip.axisPointer = { type: 'line', lineStyle: { color: colors['--mute'] } };
    o.tooltip.formatter = function (p) {
      if (!Array.isArray(p)) return p.name || p.seriesName;
      return p.map(function (x) { return x.seriesName + ' ' + plain(x.value[1]); }).filter(function (x, i, all) { return all.indexOf(x) === i; }).join('\n') +
        (p.length ? '\nat ' + plain(p[0].value[0]) : '');
    };
    o.dataZoom.forEach(function (z) { z.zoomOnMouseWheel = 'ctrl'; z.moveOnMouseMove = true; z.moveOnMouseWheel = false; });
    o.graphic = d.texts.map(function (t) {
      var x = t.note ? t.x + t.at * o.grid[0].width : t.x - (t.right ? cut : 0);
      return { type: 'text', x: x, y: t.y, silent: true, style: { text: t.text, fill: colors[t.color] || colors['--ink'], font: '13px ' + colors.font, align: t.note && !t.beside ? 'center' : 'left', verticalAlign: 'bottom', y: 3 } };
    });
    return { o: o, h: d.height };
  }
  function draw(c) {
    var w = c.plot.clientWidth;
    if (!w || innerWidth <= 860) return;
    var d = options(c.text, w);
    c.box.style.height = d.h + 'px';
    c.box.style.width = w + 'px';
    if (!c.chart) {
      c.chart = echarts.init(c.box, null, { renderer: 'canvas' });
      c.chart.on('click', function (p) {
        var v = p.data && p.data.value, h = v && v[5];
        if (typeof h === 'string' && /^#[\w-]+$/.test(h)) location.hash = h;
      });
    } else c.chart.resize();
    c.chart.setOption(d.o, true);
    c.width = w;
  }
  function show(s) {
    var plot = s.parentNode, box = doc.createElement('div');
    box.className = 'chart';
    plot.appendChild(box);
    plot.classList.add('live');
    var c = { plot: plot, box: box, text: s.textContent };
    charts.push(c);
    try { draw(c); } catch (err) { plot.classList.remove('live'); console.error('twtrace chart: ' + err.message); }
  }
  function again() { readColors(); charts.forEach(draw); }
  var timer;
  addEventListener('resize', function () {
    clearTimeout(timer);
    timer = setTimeout(function () { charts.forEach(function (c) { if (c.plot.clientWidth !== c.width) draw(c); }); }, 150);
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', again);
  unpack(library).then(function (text) {
    var run = doc.createElement('script');
    run.textContent = text; // the policy holds its hash
    doc.head.appendChild(run);
    readColors();
    each(doc.querySelectorAll('script.opt'), show);
  });
})();
