package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// readyPatience is how long an answer may take. serve itself says that it is not ready after less.
const readyPatience = 5 * time.Second

func newReadyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ready [HOST:PORT|URL]",
		Short: "Tell whether a running ttydrain is ready, for health checks",
		Long: "Asks /readyz at the admin address of a running ttydrain, 127.0.0.1:9464 where none is given, or a URL as it is, and ends with 0\n" +
			"where the answer is 200. It reads no configuration: a mistake in a new one makes nothing unhealthy that runs.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			where := "127.0.0.1:9464"
			if len(args) > 0 {
				where = args[0]
			}
			if !strings.Contains(where, "://") {
				where = "http://" + where + "/readyz"
			}
			return askReady(c.Context(), where)
		},
	}
}

func askReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return usageError{fmt.Errorf("%q is neither HOST:PORT nor a URL: %w", url, err)}
	}
	// Without a proxy: it would be asked for its own loopback address.
	client := http.Client{Transport: new(http.Transport)}
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
	fmt.Println(strings.TrimSpace(string(said)))
	return nil
}
