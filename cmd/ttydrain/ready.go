package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/endpoint"
)

// readyTimeout limits the time of the request. serve itself reports earlier that it is not ready.
const readyTimeout = 5 * time.Second

func newReadyCommand() *cobra.Command {
	var caFile string
	c := &cobra.Command{
		Use:   "ready [HOST:PORT|unix:PATH|URL]",
		Short: "Check whether a running ttydrain is ready, for health checks",
		Long: "Requests /readyz of a running ttydrain, at its admin address (default 127.0.0.1:9464) or its socket, or a complete URL, and\n" +
			"exits with 0 if the answer is 200. Other machines are reached over https only. It reads no configuration: a mistake in a new\n" +
			"one does not make a running process unhealthy.",
		Example: "  ttydrain ready unix:./data/admin/admin.sock\n  ttydrain ready https://router.example.com:9464/readyz --admin-ca ca.pem",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			where := "127.0.0.1:9464"
			if len(args) > 0 {
				where = args[0]
			}
			address, client, err := readyAddress(where, caFile)
			if err != nil {
				return usageError{err}
			}
			return askReady(c.Context(), address, client)
		},
	}
	c.Flags().StringVar(&caFile, "admin-ca", "", "PEM `FILE` with the authorities to trust for an https URL (default: the system's)")
	return c
}

// readyAddress returns the URL to ask, and a client for it.
func readyAddress(where, caFile string) (string, *http.Client, error) {
	if !strings.Contains(where, "://") {
		at, err := endpoint.Parse(where, caFile)
		return at.URL + "/readyz", at.Client, err
	}
	u, err := url.Parse(where)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", nil, fmt.Errorf("%q is neither HOST:PORT nor a URL", where)
	}
	client, err := endpoint.NewClient(u, caFile)
	return where, client, err
}

func askReady(ctx context.Context, url string, client *http.Client) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return usageError{fmt.Errorf("%q is neither HOST:PORT nor a URL: %w", url, err)}
	}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("%w: does it run, and is that its address?", err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %s", url, response.Status, strings.TrimSpace(string(said)))
	}
	fmt.Println(shown(strings.TrimSpace(string(said))))
	return nil
}
