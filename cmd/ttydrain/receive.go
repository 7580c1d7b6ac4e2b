package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/receive"
)

// receiveText is the default of --output.
const receiveText = "text"

func newReceiveCommand() *cobra.Command {
	o := receive.Options{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	var asJSON bool // the old form of --output json
	var file, output string
	c := &cobra.Command{
		Use:   "receive",
		Short: "Receive and print records over HTTPS and syslog with TLS, to try out a drain",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			useLog(o.Logger)
			if o.HTTPS == "" && o.Syslog == "" {
				return usageError{errors.New("nothing to listen on: set --https or --syslog to an address")}
			}
			if output != receiveText && output != outputJSON {
				return usageError{fmt.Errorf("--output %q is not known: expected text or json", output)}
			}
			options := receive.TerminalOptions(os.Stdout)
			options.JSON = asJSON || output == outputJSON
			printers := []*receive.Printer{receive.NewPrinter(os.Stdout, options)}
			if file != "" {
				f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
				if err != nil {
					return fmt.Errorf("--file: %w%s", err, pathRemedy("file", err))
				}
				defer f.Close() // each record is written at once
				printers = append(printers, receive.NewPrinter(f, receive.PrinterOptions{JSON: true}))
			}
			o.Handle = func(r receive.Received) {
				for _, p := range printers {
					if err := p.Print(r); err != nil {
						o.Logger.Error("writing a record failed", "error", err)
					}
				}
			}
			r, err := receive.New(o)
			if taken, ok := errors.AsType[*receive.ListenError](err); ok {
				return fmt.Errorf("--%s: %w%s", taken.Drain, taken.Err, listenRemedy(taken.Address, err))
			}
			if errors.As(err, new(*fs.PathError)) {
				return fmt.Errorf("--certificates: %w%s", err, pathRemedy("folder", err))
			}
			if err != nil {
				return err
			}
			if a := r.HTTPSAddr(); a != nil {
				fmt.Fprintf(os.Stderr, "receiving HTTPS at https://%s/, verified by %s\n", a, r.CAFile())
			}
			if a := r.SyslogAddr(); a != nil {
				fmt.Fprintf(os.Stderr, "receiving syslog over TLS at %s, verified by %s\n", a, r.CAFile())
			}
			return r.Serve(c.Context())
		},
	}
	f := c.Flags()
	f.StringVar(&o.HTTPS, "https", "127.0.0.1:8443", "`ADDRESS` for HTTPS; \"\" for none")
	f.StringVar(&o.Syslog, "syslog", "127.0.0.1:6514", "`ADDRESS` for syslog over TLS; \"\" for none")
	f.StringVar(&o.Dir, "certificates", "receive-certificates", "`FOLDER` of the certificates, which are created if they are missing")
	f.StringVar(&o.Token, "token", "", "bearer token that HTTPS requests must have")
	f.StringVarP(&file, "file", "o", "", "also append the records to this `FILE`, one JSON object a line, for audit and replay")
	f.StringVar(&output, "output", receiveText, "`FORMAT` of what is printed: text, or json for one object a line")
	f.BoolVar(&asJSON, "json", false, "")
	_ = f.MarkDeprecated("json", "use --output json") // fails only without the flag
	return c
}
