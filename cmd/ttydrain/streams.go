package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/bus"
)

func newStreamsCommand() *cobra.Command {
	var path, output string
	c := &cobra.Command{Use: "streams", Short: "Create the streams of a NATS cluster", Args: cobra.NoArgs}
	c.PersistentFlags().StringVarP(&path, "config", "c", "ttydrain.yaml", "the configuration, a YAML `FILE`")
	outputFlag(c, &output)
	c.AddCommand(&cobra.Command{
		Use:   "apply",
		Short: "Create missing streams and buckets, and update existing ones",
		Long: "Creates the streams and buckets that are missing on the configured NATS cluster, and applies the settings to existing ones.\n" +
			"The configuration has the credentials of a NATS user who may do that; the roles of serve then need no such permission.\n" +
			"The number of partitions of existing streams does not change.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			if cfg.NATS == nil {
				return errors.New("the configuration has no nats: serve creates the streams of an embedded server itself")
			}
			done, err := bus.Apply(c.Context(), busOptions(cfg, slog.New(slog.DiscardHandler)))
			if err != nil {
				return err
			}
			if output == outputJSON {
				return printJSON(done)
			}
			w := newTable()
			fmt.Fprintln(w, "STREAM\tREPLICAS\tRESULT")
			for _, a := range done {
				fmt.Fprintf(w, "%s\t%d\t%s\n", a.Name, a.Replicas, a.Result)
			}
			return w.Flush()
		},
	})
	return c
}
