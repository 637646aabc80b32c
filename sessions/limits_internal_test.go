package sessions

// Limit makes a Builder keep at most n of everything, for tests.
func (b *Builder) Limit(n int) {
	b.limit = limits{calls: n, signals: n, details: int64(n), seen: n, open: n, sources: n, seconds: n, ends: n, bindings: n, names: n, resources: n}
	b.seconds.left = n
}
