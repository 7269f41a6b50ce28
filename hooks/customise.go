// SPDX-License-Identifier: Apache-2.0

package hooks

import _ "embed"

// CustomiseLibPath is the path of the shell library for hooks. A hook begins with
//
//	. /usr/share/vmdebootstrap/common/customise.lib
const CustomiseLibPath = "/usr/share/vmdebootstrap/common/customise.lib"

// CustomiseLib is the text of the shell library for hooks: mount_proc (also mount_support), cleanup, export_env,
// disable_daemons, remove_daemon_block, prepare_apt_source, replace_apt_source, blacklist_qemu_bochs, and the variables
// BASE_OPTS, TASK_PACKAGES and EXTRA_PACKAGES. It is the library of vmdebootstrap 1.7 with both the documented and the
// actual function names, with current package names, and does nothing where the file systems are already mounted.
//
//go:embed customise.lib
var CustomiseLib string
