#!/usr/bin/perl
# The answering program on Net::Async::FastCGI: `net_async.pl SOCKET`. What it does with a request stands in ../server.py.
use strict;
use warnings;

package CountingServer;
use base qw( Net::Async::FastCGI );

our $accepted = 0;

sub on_stream {
    my $self = shift;
    $accepted++;
    $self->SUPER::on_stream(@_);
}

package main;
use Digest::MD5 qw( md5_hex );
use IO::Async::Loop;
use IO::Socket::UNIX;

my $loop = IO::Async::Loop->new;
# how many requests have come, and those that wait for others
my ( $arrived, @waiting ) = (0);

sub answer {
    my ( $req, $query, $body ) = @_;
    $req->print_stderr( $query->{stderr} ) if defined $query->{stderr};
    $req->print_stdout(
        join "\r\n", "Status: " . ( $query->{status} // 200 ), "Content-Type: text/plain",
        "X-Name: " . ( $query->{name} // "" ), "X-Received: " . length($body) . " " . md5_hex($body),
        "X-Accepted: $CountingServer::accepted", "", ""
    );
    $req->print_stdout( "x" x ( $query->{size} // 0 ) ) if $query->{size};
    $req->finish( $query->{app_status} // 0 );
}

my $server = CountingServer->new(
    default_encoding => undef,
    on_request       => sub {
        my ( undef, $req ) = @_;
        # bytes, as they came
        $req->set_encoding( undef );
        my %query = map { split /=/, $_, 2 } split /&/, $req->query_string;
        my $body  = $req->read_stdin // "";
        $arrived++;
        push @waiting, [ $query{together} // 0, sub {
            return answer( $req, \%query, $body ) unless $query{ms};
            $loop->watch_time( after => $query{ms} / 1000, code => sub { answer( $req, \%query, $body ) } );
        } ];
        my @ready = grep { $_->[0] <= $arrived } @waiting;
        @waiting = grep { $_->[0] > $arrived } @waiting;
        $_->[1]->() for @ready;
    },
);
$loop->add($server);
my $socket = IO::Socket::UNIX->new( Local => $ARGV[0], Listen => 128 ) or die "cannot listen: $!";
$server->configure( handle => $socket );
$loop->run;
