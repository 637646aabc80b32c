package decode

import (
	"bytes"
	"context"

	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/decode/keylog"
	"github.com/twtrace/twtrace/decode/pcap"
)

// readKeys reads all key material before the first packet: key logs, and the
// secrets that a pcapng holds wherever in the file they stand. Standard input
// is looked through as far as secretsAhead; what comes later is too late.
func (d *Decoder) readKeys(ctx context.Context) {
	for _, s := range d.files {
		if ctx.Err() != nil {
			return
		}
		switch s.content.Kind {
		case container.Keylog:
			d.readKeylog(s)
		case container.Pcapng:
			d.scanSecrets(s)
		}
	}
}

func (d *Decoder) readKeylog(s *source) {
	if err := s.open(&d.spare); err != nil {
		d.damage(s, err)
		s.close()
		return
	}
	stats, err := d.keys.Read(s.body)
	if err != nil {
		d.damage(s, err)
	}
	d.usable = true
	d.countKeys(stats)
	s.input.Records = stats.Lines
	s.input.Used = stats.Secrets + stats.Duplicates + stats.Comments
	s.input.Refused = s.input.Records - s.input.Used
	s.close()
	d.bytes += s.input.Bytes
}

// countKeys puts a key log's lines into the ledger.
func (d *Decoder) countKeys(s keylog.Stats) {
	d.ledger.In(LayerKeylog, s.Lines)
	d.ledger.Out(LayerKeylog, ReasonUsed, s.Secrets, 0)
	d.ledger.Out(LayerKeylog, "known already", s.Duplicates, 0)
	d.ledger.Out(LayerKeylog, "comment", s.Comments, 0)
	d.ledger.Out(LayerKeylog, "no key log line", s.Lines-s.Secrets-s.Duplicates-s.Comments, 0)
}

// secretsAhead is how many stored bytes of standard input are held to be looked
// through for secrets before the first packet is used.
const secretsAhead = 64 << 20

// scanSecrets reads the blocks of a pcapng for its decryption secrets.
func (d *Decoder) scanSecrets(s *source) {
	look := func(r *pcap.Reader) {
		var fr pcap.Frame
		for r.Next(&fr) == nil {
		}
		s.secrets = len(r.Info().Secrets)
		for _, secret := range r.Info().Secrets {
			if secret.Type == pcap.SecretTLS {
				d.countKeys(d.keys.Add(secret.Data))
			}
		}
	}
	if !s.file.Once() {
		s.lookAhead(look)
		return
	}
	head, err := s.file.Ahead(secretsAhead)
	if err != nil {
		return // told when it is read for its packets
	}
	body, _, err := container.NewReader(bytes.NewReader(head), container.Limits{})
	if err != nil {
		return
	}
	defer body.Close()
	if r, err := pcap.NewReader(body); err == nil {
		look(r)
	}
}

// lateSecrets counts those of standard input that came too late to be used.
func (d *Decoder) lateSecrets(s *source) {
	if s.reader == nil || !s.file.Once() {
		return
	}
	list := s.reader.Info().Secrets
	for _, secret := range list[min(s.secrets, len(list)):] {
		if secret.Type == pcap.SecretTLS {
			n := int64(bytes.Count(bytes.TrimSpace(secret.Data), []byte("\n"))) + 1
			d.ledger.In(LayerKeylog, n)
			d.ledger.Out(LayerKeylog, "key too late", n, int64(len(secret.Data)))
		}
	}
}

// secrets is the look-up that TLS and DTLS use.
func (d *Decoder) secrets(label string, random *[32]byte) [][]byte {
	return d.keys.Secrets(keylog.ParseLabel(label), random)
}
