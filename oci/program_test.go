package oci

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// program runs one of the programs that the tests have in their containers, and reports whether this process was one.
func program() bool {
	if filepath.Base(os.Args[0]) != "program" || len(os.Args) < 2 {
		return false
	}
	switch os.Args[1] {
	case "cat":
		io.Copy(os.Stdout, os.Stdin)
	case "exit":
		var n int
		fmt.Sscan(os.Args[2], &n)
		os.Exit(n)
	}
	return true
}
