package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/fieldseal/fieldseal/bridge/keystore"
	"github.com/fieldseal/fieldseal/configs"
)

// stateVariable fixes the state folder, which the gateway file names and nobody
// signs.
const stateVariable = "FIELDSEAL_STATE"

// place reads which state folder the gateway file names.
func place(c *cobra.Command, file string) (*configs.Basics, error) {
	where, problems := configs.LoadBasics(file)
	if where == nil {
		_ = report(c.ErrOrStderr(), problems, false)
		return nil, noLook(fmt.Errorf("cannot tell the state folder from %s", configs.Printable(file)))
	}
	return where, fixedState(where.State)
}

// basics does the same, and refuses a folder that somebody else could have
// written.
func basics(c *cobra.Command, file string) (*configs.Basics, error) {
	where, err := place(c, file)
	if err != nil {
		return nil, err
	}
	return where, keystore.Guard(where.State)
}

// fixedState refuses another state folder than the environment's.
func fixedState(state string) error {
	fixed := os.Getenv(stateVariable)
	if fixed == "" {
		return nil
	}
	a, err := filepath.Abs(state)
	b, fixedErr := filepath.Abs(fixed)
	if err != nil || fixedErr != nil || a != b {
		return noLook(fmt.Errorf("the gateway file names the state folder %s, and %s is %s; write the same in both: who decides where the state is decides who approves",
			configs.Printable(state), stateVariable, configs.Printable(fixed)))
	}
	return nil
}

// notPinned says why nobody is there who could approve.
func notPinned(state string) error {
	const initial = "fieldseal keys init --approver KEY"
	shown := configs.Printable(state)
	files, err := os.ReadDir(state)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the state folder %s is not there; is it mounted? a new gateway begins with: %s", shown, initial)
	case err != nil:
		return fmt.Errorf("cannot look at the state folder: %w", err)
	case len(files) == 0:
		return fmt.Errorf("the state folder %s is empty; is the right one mounted? a new gateway begins with: %s", shown, initial)
	}
	return fmt.Errorf("no approvers are pinned in %s, so nobody could approve policy and trust file; name them with: %s", shown, initial)
}
