package main

import (
	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/internal/table"
)

// keysCommand prints which encrypted sessions could be read, and why not: the
// rows of table flows that were encrypted at all.
func (a *app) keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "keys INPUT...",
		Short:   "Tell which encrypted sessions have keys, which not, and why",
		GroupID: "main",
		Long: "Keys come from key logs (SSLKEYLOGFILE) among the INPUTs, from secrets inside a pcapng, and from SDP.\n" +
			"Of several secrets for one session the one that authenticates is used; a wrong one never shows a byte.",
		Example: "  twtrace keys capture.pcapng keys.log",
		Args:    someInput,
		RunE: func(_ *cobra.Command, args []string) error {
			columns := []string{"experiment", "flow_id", "transport", "src", "src_port", "dst", "dst_port", "application", "server_name", "encryption", "encryption_note", "bytes"}
			return a.printTable("flows", args, columns, func(d *table.Dataset) {
				encrypted := d.Flows[:0]
				for _, r := range d.Flows {
					if r.Encryption != "" && r.Encryption != "none" {
						encrypted = append(encrypted, r)
					}
				}
				d.Flows = encrypted
			})
		},
	}
	a.inputFlags(c)
	a.viewFlags(c)
	return c
}
