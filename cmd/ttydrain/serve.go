package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/config/reload"
	"github.com/ttydrain/ttydrain/pipeline/resources"
	"github.com/ttydrain/ttydrain/schema"
)

func newServeCommand() *cobra.Command {
	var path, format, role string
	c := &cobra.Command{
		Use:   "serve -c FILE",
		Short: "Run the gateway, the enricher and the router",
		Long: "Runs all of ttydrain on an embedded NATS server, or its parts on a NATS cluster. /readyz on the admin address answers 200 once\n" +
			"everything listens. SIGTERM or SIGINT ends the sessions with a message, delivers their output,\n" +
			"and exits with 0; a second signal exits at once.\n" +
			"A changed configuration, or a changed file that it names, is loaded within two seconds, or at once on SIGHUP. It is applied as a\n" +
			"whole; if it has a mistake, nothing changes and the log has the reason.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			parts, err := parseRole(role)
			if err != nil {
				return err
			}
			if format != "" && format != "text" && format != "json" {
				return usageError{fmt.Errorf("--log-format %q is not known: expected text or json", format)}
			}
			// Before the configuration is loaded, so that an early signal does not end the process.
			hangups := make(chan os.Signal, 1)
			signal.Notify(hangups, syscall.SIGHUP)
			defer signal.Stop(hangups)
			cfg, files, err := loadConfigFiles(path)
			if err != nil {
				return err
			}
			log := cfg.Log // cfg stays as it is in the file, for the comparison at a reload
			if format != "" {
				log.Format = format
			}
			resources.Start(c.Context(), processOf(cfg, parts))
			logger := newLog(log)
			useLog(logger)
			reload.LogWarnings(cfg, logger)
			if parts.gateway {
				reload.LogProgramWarnings(cfg, logger)
			}
			n, err := newNode(c.Context(), cfg, parts, logger)
			if err != nil {
				return err
			}
			if log.Format == "text" && term.IsTerminal(int(os.Stderr.Fd())) {
				n.terminal = os.Stderr
			}
			files.Made(cfg.UserDocument.SigningKey)
			n.reloader = newReloader(n, path, files, hangups)
			return n.run(c.Context())
		},
	}
	configFlag(c, &path)
	c.Flags().StringVar(&role, "role", "all", "the `PART` to run: all; or, on a NATS cluster, gateway, enrich or router, in any number")
	c.Flags().StringVar(&format, "log-format", "", "`FORMAT` of the log on standard error, text or json, instead of log.format")
	return c
}

// processOf returns the process that runs these parts.
func processOf(c *config.Config, parts roles) resources.Process {
	p := resources.Process{Gateway: parts.gateway, Enrich: parts.enrich, Router: parts.router}
	if c.NATS == nil && c.SyncInterval == 0 { // the embedded server syncs each write
		p.DiskWriters = bus.Writers
	}
	return p
}

// newLog returns a logger that writes to standard error.
func newLog(c config.Log) *slog.Logger { return newLogTo(os.Stderr, c) }

func newLogTo(to io.Writer, c config.Log) *slog.Logger {
	o := new(slog.HandlerOptions)
	level := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	o.Level = level[c.Level]
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(&schema.JSONWriter{To: to}, o))
	}
	return slog.New(slog.NewTextHandler(to, o))
}
