package report

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/twtrace/twtrace/internal/table"
)

// Graph is who talks to whom: hosts in columns by role, flows as edges.
type Graph struct {
	No      int      `json:"no"`
	Columns []string `json:"columns"`
	Nodes   []Node   `json:"nodes"`
	Edges   []Edge   `json:"edges"`
	Caption string   `json:"caption"`
}

// Node is a host, or the rest of a column.
type Node struct {
	Column int    `json:"column"`
	Row    int    `json:"row"`
	Name   string `json:"name"`
	Text   string `json:"text"`
}

// Edge is all flows between two nodes.
type Edge struct {
	A     int     `json:"a"`
	B     int     `json:"b"`
	Bytes int64   `json:"bytes"`
	Label string  `json:"label"`
	Width float64 `json:"width"`
}

const maxColumn = 6 // nodes of one column; the others stand together

// graph is nil when no two hosts talked.
func graph(d *table.Dataset) *Graph {
	if len(d.Flows) == 0 {
		return nil
	}
	type host struct {
		addr, name, role string
		bytes            int64
	}
	hosts := map[string]*host{}
	for i := range d.Hosts {
		h := &d.Hosts[i]
		x := hosts[h.Address]
		if x == nil {
			x = &host{addr: h.Address}
			hosts[h.Address] = x
		}
		if len(h.Names) > 0 && x.name == "" {
			x.name = h.Names[0]
		}
		if r := mainRole(h.Roles); x.role == "" || x.role == "other" {
			x.role = r
		}
	}
	for i := range d.Flows {
		for _, a := range []string{d.Flows[i].Src, d.Flows[i].Dst} {
			if hosts[a] == nil {
				hosts[a] = &host{addr: a, role: "other"}
			}
			hosts[a].bytes += d.Flows[i].Bytes
		}
	}
	// Control, the observed host, media: so that edges go outward.
	column := func(role string) int {
		switch role {
		case "client":
			return 1
		case "media", "turn", "stun", "mediastream":
			return 2
		}
		return 0
	}
	names := []string{"control", "observed", "media"}
	var list []*host
	for _, h := range hosts {
		if h.bytes > 0 {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(x, y *host) int {
		return cmp.Or(cmp.Compare(roleRank[x.role], roleRank[y.role]), cmp.Compare(y.bytes, x.bytes), cmp.Compare(x.addr, y.addr))
	})
	cols := map[string]int{}
	used := [3]int{}
	clients := false
	for _, h := range list {
		clients = clients || h.role == "client"
	}
	for _, h := range list {
		c := column(h.role)
		cols[h.addr] = c
		used[c]++
	}
	if !clients {
		// No observed host: the one that moved most stands in the middle.
		var top *host
		for _, h := range list {
			if top == nil || h.bytes > top.bytes {
				top = h
			}
		}
		if len(list) > 2 && top != nil {
			used[cols[top.addr]]--
			cols[top.addr] = 1
			used[1]++
		}
		names = []string{"signaling and control", "busiest host", "media"}
		// Two hosts, or one column alone: left and right.
		if len(list) >= 2 && used[1] == 0 && (used[0] == 0 || used[2] == 0) {
			cols[list[len(list)-1].addr] = 2
			if used[0] == 0 {
				for _, h := range list[:len(list)-1] {
					cols[h.addr] = 0
				}
			}
			names = []string{"", "", ""}
		}
	}
	g := &Graph{Nodes: []Node{}, Edges: []Edge{}, Columns: names}
	node := map[string]int{}
	rows := [3]int{}
	rest := [3]int{-1, -1, -1}
	restN := [3]int{}
	total := [3]int{}
	for _, h := range list {
		total[cols[h.addr]]++
	}
	for _, h := range list {
		c := cols[h.addr]
		if total[c] > maxColumn && rows[c] >= maxColumn-1 {
			if rest[c] < 0 {
				rest[c] = len(g.Nodes)
				g.Nodes = append(g.Nodes, Node{Column: c, Row: rows[c]})
				rows[c]++
			}
			restN[c]++
			node[h.addr] = rest[c]
			continue
		}
		node[h.addr] = len(g.Nodes)
		text := show(h.addr, 40)
		if h.name != "" {
			text = show(h.name, 26)
		}
		role := h.role
		if role == "other" {
			role = "host"
		}
		g.Nodes = append(g.Nodes, Node{Column: c, Row: rows[c], Name: role, Text: text})
		rows[c]++
	}
	for c := range rest {
		if rest[c] >= 0 {
			g.Nodes[rest[c]].Name = plural(int64(restN[c]), "other host", "other hosts")
		}
	}
	type pair struct{ a, b int }
	type sum struct {
		bytes, packets int64
		apps           []string
	}
	edges := map[pair]*sum{}
	for i := range d.Flows {
		f := &d.Flows[i]
		a, ok1 := node[f.Src]
		b, ok2 := node[f.Dst]
		if !ok1 || !ok2 || a == b {
			continue
		}
		p := pair{min(a, b), max(a, b)}
		e := edges[p]
		if e == nil {
			e = &sum{}
			edges[p] = e
		}
		e.bytes += f.Bytes
		e.packets += f.Packets
		app := show(f.Application, 16)
		if app != "" && !slices.Contains(e.apps, app) && len(e.apps) < 6 {
			e.apps = append(e.apps, app)
		}
	}
	var most, all int64
	for _, e := range edges {
		most = max(most, e.bytes)
		all += e.bytes
	}
	for p, e := range edges {
		slices.Sort(e.apps)
		label := bytesText(e.bytes)
		if len(e.apps) > 0 {
			label = strings.Join(e.apps, ", ") + ": " + label
		}
		w := 1.0
		if most > 0 {
			w = 1 + 13*math.Sqrt(float64(max(e.bytes, 0))/float64(most))
		}
		g.Edges = append(g.Edges, Edge{A: p.a, B: p.b, Bytes: e.bytes, Label: label, Width: math.Round(w*10) / 10})
	}
	if len(g.Edges) == 0 {
		return nil
	}
	slices.SortFunc(g.Edges, func(x, y Edge) int {
		return cmp.Or(cmp.Compare(y.Bytes, x.Bytes), cmp.Compare(x.A, y.A), cmp.Compare(x.B, y.B))
	})
	top := g.Edges[0]
	g.Caption = plural(int64(len(list)), "host", "hosts") + " exchanged " + bytesText(all) + ", IP headers included; " + percent(top.Bytes, all) + " of it between " + g.Nodes[top.A].Text + " and " + g.Nodes[top.B].Text +
		". The width of a line grows with the root of its bytes. A role is known by what the host spoke; of HTTP and TLS by its name."
	if g.Nodes[top.A].Text == "" || g.Nodes[top.B].Text == "" {
		g.Caption = plural(int64(len(list)), "host", "hosts") + " exchanged " + bytesText(all) + ", IP headers included. The width of a line grows with the root of its bytes. A role is known by what the host spoke; of HTTP and TLS by its name."
	}
	return g
}
