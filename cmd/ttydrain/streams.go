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
	c := &cobra.Command{Use: "streams", Short: "Make the streams of a NATS cluster", Args: cobra.NoArgs}
	c.PersistentFlags().StringVarP(&path, "config", "c", "ttydrain.yaml", "the configuration, a YAML `FILE`")
	outputFlag(c, &output)
	c.AddCommand(&cobra.Command{
		Use:   "apply",
		Short: "Make the streams and buckets that are missing, and update those that are there",
		Long: "Makes the streams and buckets that are missing on the NATS cluster of the configuration, and gives those that are there its\n" +
			"settings. The credentials in the configuration are those of somebody who may do so; the roles of serve then need no such right.\n" +
			"The number of partitions of streams that are there stays as it is.",
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
				return errors.New("the configuration has no nats: serve makes the streams of an embedded server itself")
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
