# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_himage_global_optspecs
    string join \n store= q/quiet any-size v/verbose h/help V/version
end

function __fish_himage_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_himage_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_himage_using_subcommand
    set -l cmd (__fish_himage_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c himage -n "__fish_himage_needs_command" -l store -d 'Keeps images in DIR' -r -F
complete -c himage -n "__fish_himage_needs_command" -s q -l quiet -d 'Says nothing of progress'
complete -c himage -n "__fish_himage_needs_command" -l any-size -d 'Unpacks images of any size'
complete -c himage -n "__fish_himage_needs_command" -s v -l verbose -d 'Says which files settings and logins come from'
complete -c himage -n "__fish_himage_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c himage -n "__fish_himage_needs_command" -s V -l version -d 'Print version'
complete -c himage -n "__fish_himage_needs_command" -f -a "pull" -d 'Fetches an image from a registry'
complete -c himage -n "__fish_himage_needs_command" -f -a "import" -d 'Takes an image from an archive, a layout or a root directory'
complete -c himage -n "__fish_himage_needs_command" -f -a "convert" -d 'Writes an image in another form'
complete -c himage -n "__fish_himage_needs_command" -f -a "list" -d 'Lists the images of the store'
complete -c himage -n "__fish_himage_needs_command" -f -a "ls" -d 'Lists the images of the store'
complete -c himage -n "__fish_himage_needs_command" -f -a "inspect" -d 'Says what an image is made of, and what it says of itself'
complete -c himage -n "__fish_himage_needs_command" -f -a "verify" -d 'Compares images of the store with their digests'
complete -c himage -n "__fish_himage_needs_command" -f -a "remove" -d 'Removes images from the store'
complete -c himage -n "__fish_himage_needs_command" -f -a "rm" -d 'Removes images from the store'
complete -c himage -n "__fish_himage_needs_command" -f -a "share" -d 'Lets other users read the store'
complete -c himage -n "__fish_himage_using_subcommand pull" -l platform -d 'Takes the image for another kind of machine: linux/arm64' -r
complete -c himage -n "__fish_himage_using_subcommand pull" -l ca -d 'Believes the certificates in FILE, too: authorities, or the registry\'s own' -r -F
complete -c himage -n "__fish_himage_using_subcommand pull" -l tmpdir -d 'Unpacks in DIR what is unpacked on the way to a file, not beside the file' -r -F
complete -c himage -n "__fish_himage_using_subcommand pull" -l processors -d 'Has mksquashfs take N processors' -r
complete -c himage -n "__fish_himage_using_subcommand pull" -l memory -d 'Has mksquashfs take SIZE of memory: 512M, 2G' -r
complete -c himage -n "__fish_himage_using_subcommand pull" -l store -d 'Keeps images in DIR' -r -F
complete -c himage -n "__fish_himage_using_subcommand pull" -l plain-http -d 'Asks the registry without encryption'
complete -c himage -n "__fish_himage_using_subcommand pull" -s q -l quiet -d 'Says nothing of progress'
complete -c himage -n "__fish_himage_using_subcommand pull" -l any-size -d 'Unpacks images of any size'
complete -c himage -n "__fish_himage_using_subcommand pull" -s v -l verbose -d 'Says which files settings and logins come from'
complete -c himage -n "__fish_himage_using_subcommand pull" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c himage -n "__fish_himage_using_subcommand import" -l image -d 'Which image, if there are several in SOURCE' -r
complete -c himage -n "__fish_himage_using_subcommand import" -l tmpdir -d 'Unpacks in DIR what is unpacked on the way to a file, not beside the file' -r -F
complete -c himage -n "__fish_himage_using_subcommand import" -l processors -d 'Has mksquashfs take N processors' -r
complete -c himage -n "__fish_himage_using_subcommand import" -l memory -d 'Has mksquashfs take SIZE of memory: 512M, 2G' -r
complete -c himage -n "__fish_himage_using_subcommand import" -l store -d 'Keeps images in DIR' -r -F
complete -c himage -n "__fish_himage_using_subcommand import" -s q -l quiet -d 'Says nothing of progress'
complete -c himage -n "__fish_himage_using_subcommand import" -l any-size -d 'Unpacks images of any size'
complete -c himage -n "__fish_himage_using_subcommand import" -s v -l verbose -d 'Says which files settings and logins come from'
complete -c himage -n "__fish_himage_using_subcommand import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c himage -n "__fish_himage_using_subcommand convert" -l format -d 'The form, whatever the ending says' -r -f -a "dir\t''
squashfs\t''
tar\t''
oci\t''
docker-archive\t''"
complete -c himage -n "__fish_himage_using_subcommand convert" -l compress -d 'What it is compressed by' -r -f -a "zstd\t''
gzip\t''
xz\t''
lz4\t''
none\t''"
complete -c himage -n "__fish_himage_using_subcommand convert" -l tmpdir -d 'Unpacks in DIR what is unpacked on the way to a file, not beside the file' -r -F
complete -c himage -n "__fish_himage_using_subcommand convert" -l processors -d 'Has mksquashfs take N processors' -r
complete -c himage -n "__fish_himage_using_subcommand convert" -l memory -d 'Has mksquashfs take SIZE of memory: 512M, 2G' -r
complete -c himage -n "__fish_himage_using_subcommand convert" -l store -d 'Keeps images in DIR' -r -F
complete -c himage -n "__fish_himage_using_subcommand convert" -l force -d 'Replaces the image that is there: a file, or a directory that is nothing else'
complete -c himage -n "__fish_himage_using_subcommand convert" -s q -l quiet -d 'Says nothing of progress'
complete -c himage -n "__fish_himage_using_subcommand convert" -l any-size -d 'Unpacks images of any size'
complete -c himage -n "__fish_himage_using_subcommand convert" -s v -l verbose -d 'Says which files settings and logins come from'
complete -c himage -n "__fish_himage_using_subcommand convert" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c himage -n "__fish_himage_using_subcommand list" -l store -d 'Keeps images in DIR' -r -F
complete -c himage -n "__fish_himage_using_subcommand list" -l json -d 'Writes JSON'
complete -c himage -n "__fish_himage_using_subcommand list" -s q -l quiet -d 'Says nothing of progress'
complete -c himage -n "__fish_himage_using_subcommand list" -l any-size -d 'Unpacks images of any size'
complete -c himage -n "__fish_himage_using_subcommand list" -s v -l verbose -d 'Says which files settings and logins come from'
complete -c himage -n "__fish_himage_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c himage -n "__fish_himage_using_subcommand ls" -l store -d 'Keeps images in DIR' -r -F
complete -c himage -n "__fish_himage_using_subcommand ls" -l json -d 'Writes JSON'
complete -c himage -n "__fish_himage_using_subcommand ls" -s q -l quiet -d 'Says nothing of progress'
complete -c himage -n "__fish_himage_using_subcommand ls" -l any-size -d 'Unpacks images of any size'
complete -c himage -n "__fish_himage_using_subcommand ls" -s v -l verbose -d 'Says which files settings and logins come from'
complete -c himage -n "__fish_himage_using_subcommand ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c himage -n "__fish_himage_using_subcommand inspect" -l store -d 'Keeps images in DIR' -r -F
complete -c himage -n "__fish_himage_using_subcommand inspect" -l json -d 'Writes JSON'
complete -c himage -n "__fish_himage_using_subcommand inspect" -s q -l quiet -d 'Says nothing of progress'
complete -c himage -n "__fish_himage_using_subcommand inspect" -l any-size -d 'Unpacks images of any size'
complete -c himage -n "__fish_himage_using_subcommand inspect" -s v -l verbose -d 'Says which files settings and logins come from'
complete -c himage -n "__fish_himage_using_subcommand inspect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c himage -n "__fish_himage_using_subcommand verify" -l store -d 'Keeps images in DIR' -r -F
complete -c himage -n "__fish_himage_using_subcommand verify" -s q -l quiet -d 'Says nothing of progress'
complete -c himage -n "__fish_himage_using_subcommand verify" -l any-size -d 'Unpacks images of any size'
complete -c himage -n "__fish_himage_using_subcommand verify" -s v -l verbose -d 'Says which files settings and logins come from'
complete -c himage -n "__fish_himage_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c himage -n "__fish_himage_using_subcommand remove" -l store -d 'Keeps images in DIR' -r -F
complete -c himage -n "__fish_himage_using_subcommand remove" -l unnamed -d 'Removes the images that have no name any more'
complete -c himage -n "__fish_himage_using_subcommand remove" -s q -l quiet -d 'Says nothing of progress'
complete -c himage -n "__fish_himage_using_subcommand remove" -l any-size -d 'Unpacks images of any size'
complete -c himage -n "__fish_himage_using_subcommand remove" -s v -l verbose -d 'Says which files settings and logins come from'
complete -c himage -n "__fish_himage_using_subcommand remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c himage -n "__fish_himage_using_subcommand rm" -l store -d 'Keeps images in DIR' -r -F
complete -c himage -n "__fish_himage_using_subcommand rm" -l unnamed -d 'Removes the images that have no name any more'
complete -c himage -n "__fish_himage_using_subcommand rm" -s q -l quiet -d 'Says nothing of progress'
complete -c himage -n "__fish_himage_using_subcommand rm" -l any-size -d 'Unpacks images of any size'
complete -c himage -n "__fish_himage_using_subcommand rm" -s v -l verbose -d 'Says which files settings and logins come from'
complete -c himage -n "__fish_himage_using_subcommand rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c himage -n "__fish_himage_using_subcommand share" -l store -d 'Keeps images in DIR' -r -F
complete -c himage -n "__fish_himage_using_subcommand share" -s q -l quiet -d 'Says nothing of progress'
complete -c himage -n "__fish_himage_using_subcommand share" -l any-size -d 'Unpacks images of any size'
complete -c himage -n "__fish_himage_using_subcommand share" -s v -l verbose -d 'Says which files settings and logins come from'
complete -c himage -n "__fish_himage_using_subcommand share" -s h -l help -d 'Print help (see more with \'--help\')'
