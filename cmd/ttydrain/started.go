package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/timeflag"
)

// drainsTimeout limits the time that the report of a started node waits for the states of drains.
const drainsTimeout = 5 * time.Second

// started reports once where the node listens, and the state of each drain: on n.terminal if it is
// set, and otherwise in the log. It returns when it is done, or when ctx is.
func (n *node) started(ctx context.Context) {
	c := n.config.Load()
	drains := n.drainStates(ctx)
	if ctx.Err() != nil {
		return
	}
	addresses := n.addresses(c)
	if n.terminal != nil {
		if link, ok := n.loginLink(); ok { // for this terminal only: it is a secret
			addresses = slices.Insert(addresses, slices.IndexFunc(addresses, isConsole)+1, link)
		}
		printStarted(n.terminal, addresses, drains) // the node runs without a terminal too
		return
	}
	var args []any
	for _, a := range addresses {
		args = append(args, strings.ToLower(a.name), a.where)
	}
	states := make([]string, 0, len(drains))
	for _, d := range drains {
		states = append(states, d.Name+"="+d.State)
	}
	n.log.Info("started", append(args, "drains", strings.Join(states, " "))...)
}

// loginLink returns a login link for the operator who has started the node; false if the console
// does not accept the admin token.
func (n *node) loginLink() (address, bool) {
	if n.admin.Console == nil {
		return address{}, false
	}
	url, until, err := n.admin.Console.NewLink(requester())
	if err != nil {
		return address{}, false
	}
	return address{"", url + " logs in once, until " + timeflag.Format(until)}, true
}

// An address is where a part of a node is reached.
type address struct{ name, where string }

func isConsole(a address) bool { return a.name == "Console" }

func (n *node) addresses(c *config.Config) []address {
	var list []address
	if n.sshListener != nil {
		list = append(list, address{"SSH", n.sshListener.Addr().String()})
	}
	if n.admin.Console != nil {
		list = append(list, address{"Console", n.admin.Console.Address()})
	}
	list = append(list, address{"Metrics", localURL(c, n.adminListener.Addr()) + "/metrics"})
	if c.Store != "" {
		list = append(list, address{"Store", c.Store})
	}
	return list
}

// localURL returns the URL at which the admin server is reached on this machine.
func localURL(c *config.Config, listener net.Addr) string {
	if c.Admin.TLS != nil {
		return "https://" + localAddress(listener)
	}
	return "http://" + localAddress(listener)
}

// localAddress returns the address at which a listener is reached on this machine.
func localAddress(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", fmt.Sprint(tcp.Port))
	}
	return a.String()
}

// drainStates returns the statuses of the drains when each has one, or when drainsTimeout has
// passed. It returns nil without the router.
func (n *node) drainStates(ctx context.Context) []operate.DrainStatus {
	if n.operator == nil {
		return nil
	}
	deadline := time.After(drainsTimeout)
	for {
		list, err := n.operator.List(ctx)
		unattended := func(d operate.DrainStatus) bool { return d.State == operate.Unattended }
		if err == nil && !slices.ContainsFunc(list, unattended) {
			return list
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-deadline:
			return list
		case <-ctx.Done():
			return nil
		}
	}
}

// printStarted prints the report for people.
func printStarted(to io.Writer, addresses []address, drains []operate.DrainStatus) error {
	w := tabwriter.NewWriter(visible{to}, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nttydrain %s has started\n\n", version())
	for _, a := range addresses {
		fmt.Fprintf(w, "  %s\t%s\n", a.name, a.where)
	}
	for _, d := range drains {
		about := d.State
		if d.LagRecords > 0 {
			about += fmt.Sprintf(", %d records not delivered yet", d.LagRecords)
		}
		if d.LastError != "" {
			about += ": " + cell(d.LastError)
		}
		fmt.Fprintf(w, "  Drain %s\t%s\n", d.Name, about)
	}
	fmt.Fprintln(w)
	return w.Flush()
}
