// Package config reads ttydrain's configuration: one YAML file.
//
// It is strict: an unknown field, a duplicate key, a name that nothing has, a key file that cannot
// be read are mistakes, and [Load] reports all of them at once as [Mistakes], each with the place
// in the file, what was expected, and the nearest valid name.
//
// The structs' tags are the one description of the file. The decoder, the look-up of the nearest
// name and the test that holds schema/config.schema.json to the same fields all read them:
//
//	yaml:"name"        the field's name; ",inline" for a struct whose fields stand in its parent
//	rule:"required"    must be there
//	enum:"a|b"         one of these words
//	as:"path"          a file or folder; relative ones are relative to the configuration's folder
//	as:"paths"         a list of paths, or one path
//	as:"size"          bytes, with a unit: 1024MB
//	as:"interval"      a duration, or "always" for 0
//	as:"text"          text that may be written as a number, without quotes
//	as:"env"           a map of environment variables; its values may be empty
//	min:"1" max:"9"    bounds, written as the value itself
//	want:"…"           what a person should write, for messages
//	variant:"https"    on a pointer: the fields of its struct belong to the parent where the parent's
//	                   field "type" has this value
//
// Values that are secret have the type [Secret], and only they (and the environment of apps, which
// is made of them) may use ${NAME} and file:PATH.
//
// A loaded [Config] is never changed. A reload loads a whole new one and compares its drains with
// the old ones by [reflect.DeepEqual], which sees changed secrets as well.
package config
