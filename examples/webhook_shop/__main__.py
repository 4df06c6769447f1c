"""The shop with all that it needs: `python -m webhook_shop`, in the folder of the examples."""

from shop_play import play

GUNICORN = ["-m", "gunicorn", "--bind", "127.0.0.1:PORT", "--log-level", "warning"]

if __name__ == "__main__":
    play(
        server=[*GUNICORN, "--workers", "2", "--threads", "8", "webhook_shop:create_app()"],
        worker=["-m", "flask", "--app", "webhook_shop", "saga", "worker"],
    )
