<?php
// Sends one message through Symfony Messenger's transport for Redis, in JSON. Usage: symfony_redis.php DSN

namespace App\Message {
    final class Mail
    {
        public string $to = '';
    }
}

namespace {
    use App\Message\Mail;
    use Symfony\Component\Messenger\Bridge\Redis\Transport\RedisTransportFactory;
    use Symfony\Component\Messenger\Envelope;
    use Symfony\Component\Messenger\Transport\Serialization\Serializer;

    // its packages leave autoloading to who uses them
    foreach (['Serializer', 'PropertyAccess', 'PropertyInfo', 'Messenger', 'Messenger/Bridge/Redis'] as $component) {
        if (is_file($file = "/usr/share/php/Symfony/Component/$component/autoload.php")) {
            require_once $file;
        }
    }
    $mail = new Mail();
    $mail->to = 'a@example.org';
    $transport = (new RedisTransportFactory())->createTransport($argv[1], [], Serializer::create());
    $transport->send(new Envelope($mail));
}
