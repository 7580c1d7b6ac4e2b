package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"
)

func newServeCommand() *cobra.Command {
	var path, format, role string
	c := &cobra.Command{
		Use:   "serve -c FILE",
		Short: "Run the gateway, the enricher and the router",
		Long: "Runs all of ttydrain on an embedded NATS server, or its parts on a NATS cluster. /readyz on the admin address answers 200 once\n" +
			"everything listens. SIGTERM or SIGINT ends the sessions with a message, delivers what they showed,\n" +
			"and exits with 0; a second signal exits at once.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			parts, err := parseRole(role)
			if err != nil {
				return err
			}
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			var handler slog.Handler = slog.NewTextHandler(os.Stderr, nil)
			if format == "json" {
				handler = slog.NewJSONHandler(os.Stderr, nil)
			}
			n, err := newNode(c.Context(), cfg, parts, slog.New(handler))
			if err != nil {
				return err
			}
			return n.run(c.Context())
		},
	}
	configFlag(c, &path)
	c.Flags().StringVar(&role, "role", "all", "the `PART` to run: all; or, on a NATS cluster, gateway, enrich or router, as many of each as wanted")
	c.Flags().StringVar(&format, "log-format", "text", "`FORMAT` of the log on standard error: text or json")
	return c
}
