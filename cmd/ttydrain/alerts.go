package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/admin"
)

func newAlertsCommand() *cobra.Command {
	return &cobra.Command{Use: "alerts", Short: "Print alert rules for Prometheus", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := os.Stdout.Write(admin.Alerts())
			return err
		}}
}
