package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/configs/schema"
)

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema KIND",
		Short: "Print the JSON Schema of a kind of file, for editors",
		Long: `Schema prints the JSON Schema (draft 2020-12) of one kind of file: ` + strings.Join(schema.Kinds(), ", ") + `.

An editor with a YAML language server shows by it what a key means, completes keys and marks mistakes. The first line
of a file names the schema:

  # yaml-language-server: $schema=` + schema.URL("machine") + `

Without that address, write the schema beside the files (fieldseal schema machine > machine-v1.json) and name the file
there, or in the editor's settings. What fieldseal check says is the last word.`,
		Args:      takes("KIND"),
		ValidArgs: schema.Kinds(),
		RunE: func(c *cobra.Command, args []string) error {
			b, err := schema.JSON(args[0])
			if err != nil {
				return noLook(err)
			}
			_, err = c.OutOrStdout().Write(b)
			return err
		},
	}
}
