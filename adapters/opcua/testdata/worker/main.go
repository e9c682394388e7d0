// Worker is a program that is a worker and nothing else, built without the race
// detector, under which no limit of memory can be set.
package main

import (
	"os"

	"github.com/fieldseal/fieldseal/adapters/opcua"
)

func main() { os.Exit(opcua.WorkerMain(os.Stdin, os.Stdout)) }
