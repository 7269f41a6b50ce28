// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// call is a command line of dpkg that this package carries out.
type call struct {
	// install is set for --install, which configures the packages when all are unpacked.
	install bool
	// options are all others, as the real dpkg gets them.
	options []string
	// files are the packages, in dpkg's order.
	files []string
	// force has what the --force-* options name, and what dpkg forces by default.
	force []string
	// noTriggers leaves triggers pending.
	noTriggers bool
	statusFDs  []int
}

// parseCall reads a command line. It returns false for one that is the real dpkg's.
func parseCall(args []string) (c call, ok bool) {
	c.force = []string{"security-mac", "downgrade"}
	unpack, recursive := false, false
	var names []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--unpack":
			unpack = true
			continue
		case arg == "--install":
			c.install = true
			continue
		case arg == "--recursive":
			recursive = true
			continue
		case arg == "--status-fd" && i+1 < len(args):
			fd, err := strconv.Atoi(args[i+1])
			if err != nil {
				return c, false
			}
			c.statusFDs = append(c.statusFDs, fd)
			c.options = append(c.options, arg, args[i+1])
			i++
			continue
		case arg == "--no-triggers":
			c.noTriggers = true
		case arg == "--auto-deconfigure", arg == "--skip-same-version":
		case strings.HasPrefix(arg, "--force-"):
			c.force = append(c.force, strings.Split(strings.TrimPrefix(arg, "--force-"), ",")...)
		case !strings.HasPrefix(arg, "-"):
			names = append(names, arg)
			continue
		default:
			return c, false
		}
		c.options = append(c.options, arg)
	}
	if unpack == c.install || len(names) == 0 || slices.Contains(c.force, "all") {
		return c, false
	}
	c.files = names
	if recursive {
		if c.files, ok = packagesBelow(names); !ok {
			return c, false
		}
	}
	// Dpkg looks at all of them before it begins.
	return c, !slices.ContainsFunc(c.files, func(file string) bool {
		info, err := os.Stat(file)
		return err != nil || !info.Mode().IsRegular()
	})
}

// packagesBelow lists the packages in directories as dpkg --recursive does. Those that apt makes have no
// subdirectories.
func packagesBelow(dirs []string) (files []string, ok bool) {
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir) // by name
		if err != nil {
			return nil, false
		}
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			info, err := os.Stat(name)
			if err != nil || !info.Mode().IsRegular() {
				return nil, false
			}
			if strings.HasSuffix(name, ".deb") {
				files = append(files, name)
			}
		}
	}
	return files, len(files) > 0
}

// forceNames are dpkg's, in the order in which it lists them in DPKG_FORCE (src/common/force.c).
var forceNames = []string{
	"security-mac", "downgrade", "configure-any", "hold", "not-root", "bad-path", "bad-verify", "bad-version",
	"statoverride-add", "statoverride-remove", "overwrite", "overwrite-diverted", "overwrite-dir", "unsafe-io",
	"script-chrootless", "confnew", "confold", "confdef", "confmiss", "confask", "architecture", "breaks", "conflicts",
	"depends", "depends-version", "remove-reinstreq", "remove-protected", "remove-essential",
}

// forced returns the value of DPKG_FORCE.
func (c call) forced() string {
	var names []string
	for _, name := range forceNames {
		if slices.Contains(c.force, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}
