package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/demo"
)

func newDemoCommand() *cobra.Command {
	o := demo.Options{Out: os.Stdout, Search: os.Getenv("ELASTICSEARCH_URL"), Start: startDemo, Program: programCommand(), Command: runCommand}
	var verbose bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show a session on its way to an HTTPS and a syslog drain, then leave the gateway up",
		Long: "Runs all of ttydrain in this process: a real session over SSH, with a password prompt, into a local\n" +
			"HTTPS and a local syslog receiver (and Elasticsearch if ELASTICSEARCH_URL is set). Shows what the\n" +
			"user saw and what each drain received, audits a drain's copy before and after one byte of it is\n" +
			"changed, then leaves everything up, with commands to copy.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			level := slog.LevelError
			if verbose {
				level = slog.LevelDebug
			}
			o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
			useLog(o.Log)
			return demo.Run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Listen, "listen", "127.0.0.1:2222", "`ADDRESS` of the gateway; a free port if it is taken")
	f.StringVar(&o.Admin, "admin", "127.0.0.1:9464", "`ADDRESS` of the console and the metrics; a free port if it is taken")
	f.StringVar(&o.Dir, "dir", "", "`FOLDER` for its files, which is kept (default: a temporary one)")
	f.BoolVar(&o.Once, "once", false, "exit after the story, with 1 if a check failed")
	f.BoolVar(&verbose, "verbose", false, "log what ttydrain does")
	return c
}

// startDemo returns a node with all roles.
func startDemo(ctx context.Context, c *config.Config, log *slog.Logger) (demo.Node, error) {
	n, err := newNode(ctx, c, roles{true, true, true}, log)
	if err != nil {
		return demo.Node{}, err
	}
	link := func() (string, time.Time, error) { return n.admin.Console.NewLink(requester()) }
	return demo.Node{Address: n.sshListener.Addr(), Admin: n.adminListener.Addr(), Link: link, Run: n.run}, nil
}
