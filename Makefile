# make man          the manual's pages into man/
# make install      program, pages and completions below PREFIX
# Building needs nothing but Go: go build ./cmd/twtrace
PREFIX ?= /usr/local
DESTDIR ?=
GO ?= go
share = $(DESTDIR)$(PREFIX)/share

build:
	$(GO) build -o twtrace ./cmd/twtrace

man: build
	rm -rf man
	./twtrace man man

install: man
	install -d $(DESTDIR)$(PREFIX)/bin $(share)/man/man1 $(share)/bash-completion/completions $(share)/zsh/site-functions $(share)/fish/vendor_completions.d
	install -m 755 twtrace $(DESTDIR)$(PREFIX)/bin/twtrace
	install -m 644 man/*.1 $(share)/man/man1
	./twtrace completion bash >$(share)/bash-completion/completions/twtrace
	./twtrace completion zsh >$(share)/zsh/site-functions/_twtrace
	./twtrace completion fish >$(share)/fish/vendor_completions.d/twtrace.fish

test:
	$(GO) test ./...

.PHONY: build man install test
