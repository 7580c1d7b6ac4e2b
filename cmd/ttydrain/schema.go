package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/schema"
)

func newSchemaCommand() *cobra.Command {
	c := &cobra.Command{Use: "schema", Short: "Print the JSON Schema of the configuration or of a record", Args: cobra.NoArgs}
	for _, s := range []struct {
		name, about string
		text        func() []byte
	}{
		{"config", "Print the JSON Schema of the configuration", schema.ConfigSchema},
		{"record", "Print the JSON Schema of a record", schema.RecordSchema},
	} {
		c.AddCommand(&cobra.Command{Use: s.name, Short: s.about, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			_, err := os.Stdout.Write(s.text())
			return err
		}})
	}
	return c
}
