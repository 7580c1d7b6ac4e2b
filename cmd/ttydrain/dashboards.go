package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/admin"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/dashboards"
)

func newDashboardsCommand() *cobra.Command {
	c := &cobra.Command{Use: "dashboards", Short: "Print dashboards for Kibana or Grafana", Args: cobra.NoArgs}
	var pattern string
	kibana := &cobra.Command{
		Use:   "kibana",
		Short: "Print the sessions' dashboard for Kibana, as saved objects",
		Long: "Prints the dashboard of the sessions in Elasticsearch as saved objects in NDJSON, for Kibana 8.11 or later: Stack Management,\n" +
			"Saved Objects, Import, or its API:\n\n" +
			"  ttydrain dashboards kibana > ttydrain.ndjson\n" +
			"  curl -X POST \"$KIBANA/api/saved_objects/_import?overwrite=true\" -H 'kbn-xsrf: true' -F file=@ttydrain.ndjson",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if pattern == "" {
				return usageError{errors.New("--data-stream is empty: name the data stream of the drain, or a pattern such as logs-ssh-*")}
			}
			text, err := dashboards.Kibana(pattern)
			if err == nil {
				_, err = os.Stdout.Write(text)
			}
			return err
		},
	}
	kibana.Flags().StringVar(&pattern, "data-stream", "logs-ssh-*", "the `PATTERN` of the data streams to show")
	grafana := &cobra.Command{
		Use:   "grafana",
		Short: "Print the sessions' dashboard for Grafana",
		Long: "Prints the dashboard of the sessions in Elasticsearch as JSON, for Grafana 10 or later: Dashboards, New, Import, or a file of its\n" +
			"provisioning. It shows what its Elasticsearch data source has: set that one's index to the drain's data stream, its time\n" +
			"field to @timestamp, and its message field to text.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := os.Stdout.Write(dashboards.Grafana())
			return err
		},
	}
	metrics := &cobra.Command{
		Use:   "metrics",
		Short: "Print the metrics' dashboard for Grafana",
		Long: "Prints a dashboard of ttydrain's metrics as JSON, for Grafana 10 or later with a Prometheus data source: sessions, lag, deliveries,\n" +
			"latencies, and room on the disk.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := os.Stdout.Write(admin.Dashboard())
			return err
		},
	}
	c.AddCommand(kibana, grafana, metrics)
	return c
}
