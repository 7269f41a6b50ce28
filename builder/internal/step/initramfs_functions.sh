# SPDX-License-Identifier: Apache-2.0

# In the place of the function of that name in initramfs-tools, with a tenth of its processes for a usual file: see
# initramfs_functions.go.
copy_file() {
	local type src target name

	type="${1}"
	src="${2}"
	target="${3:-$2}"

	# Only names that realpath(1) does not change.
	for name in "${src}" "${target}"; do
		case "${name}/" in
		[!/]* | *//* | */./* | */../*)
			initramfs_tools_copy_file "$@"
			return
			;;
		esac
	done
	if [ ! -f "${src}" ] || [ -d "${DESTDIR}/${target}" ]; then
		initramfs_tools_copy_file "$@"
		return
	fi

	case "${src}" in
	/bin/* | /lib* | /sbin/*)
		: "${vmdebootstrap_bin:=$(readlink -f /bin)}"
		[ "${vmdebootstrap_bin}" = /usr/bin ] && src="/usr${src}"
		;;
	esac
	case "${target}" in
	/bin/* | /lib* | /sbin/*) target="/usr${target}" ;;
	esac
	[ -e "${DESTDIR}/${target}" ] && return 1

	name="${src}"
	while [ -n "${name}" ]; do
		if [ -h "${name}" ]; then
			initramfs_tools_copy_file "$@"
			return
		fi
		name="${name%/*}"
	done

	[ -d "${DESTDIR}/${target%/*}" ] || mkdir -p "${DESTDIR}/${target%/*}"
	[ "${verbose?}" = "y" ] && echo "Adding ${type} ${src}"
	cp -pP "${src}" "${DESTDIR}/${target}" || return $(($? + 1))
}
