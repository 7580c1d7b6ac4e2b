package config

import "fmt"

// Place returns the place of a setting for an error that appears only when the setting is used, as
// in "ttydrain.yaml:3:10: gateway.listen". A setting that the file does not have is at the nearest
// enclosing one.
func (c *Config) Place(path string) string {
	d := decoder{places: c.places}
	at := d.place(path)
	return fmt.Sprintf("%s:%d:%d: %s", c.file, max(1, at.line), max(1, at.column), path)
}
