package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/admin"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch"
)

func newSchemaCommand() *cobra.Command {
	c := &cobra.Command{Use: "schema", Short: "Print the schema of the configuration, of records, of the admin API or of an Elasticsearch index", Args: cobra.NoArgs}
	for _, s := range []struct {
		name, about string
		text        func() []byte
	}{
		{"config", "Print the JSON Schema of the configuration", schema.ConfigSchema},
		{"record", "Print the JSON Schema of a record", schema.RecordSchema},
		{"api", "Print the OpenAPI 3.1 document of the admin API", admin.OpenAPI},
	} {
		c.AddCommand(&cobra.Command{Use: s.name, Short: s.about, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			_, err := os.Stdout.Write(s.text())
			return err
		}})
	}
	c.AddCommand(newTemplateCommand())
	return c
}

func newTemplateCommand() *cobra.Command {
	var dataStream, product string
	c := &cobra.Command{
		Use:   "elasticsearch",
		Short: "Print the index template of a data stream",
		Long: "Prints the index template, with the types of a record's fields, of a drain's data stream. The drain installs it by itself where its\n" +
			"credentials may (manage_index_templates) and manage_template is not false; otherwise somebody else does, before the first record:\n\n" +
			"  ttydrain schema elasticsearch --data-stream logs-ssh-default |\n" +
			"    curl -X PUT \"$ELASTICSEARCH/_index_template/ttydrain-logs-ssh-default\" -H 'Content-Type: application/json' --data-binary @-",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := elasticsearch.CheckDataStream(dataStream); err != nil {
				return usageError{err}
			}
			_, template := elasticsearch.IndexTemplate(dataStream)
			switch elasticsearch.Product(product) {
			case elasticsearch.Elasticsearch:
			case elasticsearch.OpenSearch:
				_, template = elasticsearch.OpenSearchTemplate(dataStream)
			default:
				return usageError{fmt.Errorf("--product %q is not known: expected elasticsearch or opensearch", product)}
			}
			_, err := os.Stdout.Write(template)
			return err
		},
	}
	c.Flags().StringVar(&product, "product", "elasticsearch", "the `SERVER`: elasticsearch or opensearch")
	c.Flags().StringVar(&dataStream, "data-stream", "logs-ssh-default", "the `NAME` of the drain's data stream")
	return c
}
