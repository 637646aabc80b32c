package decode

// Bounds makes a Decoder keep so few flows and connections, for tests.
func (d *Decoder) Bounds(flows, conns int) { d.flows.max, d.conns.max = flows, conns }
